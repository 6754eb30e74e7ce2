"""Tables of `upload` are read back as they were written, in each format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from client.api.records import Item, Prediction
from client.errors import UsageError
from client.evaluation.answers import Answer, read_table
from client.tables.rows import flat_columns, row
from client.tables.table import Table

LABELS = ("=1+1", "tabby, cat; =x", "'quoted'", "@home", "3 m; -2", 'say "hi"')


def item(*labels: str, **fields: Any) -> Item:
    scores = [1 / (k + 2) for k in range(len(labels))]
    predictions = tuple(map(Prediction, range(len(labels)), labels, scores))
    fields = {"labels": labels[:1]} | fields
    return Item(index=0, name="", predictions=predictions, model_version="v", **fields)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("leading", [["path"], ["path", "raw_path"]])
def test_a_table_is_read_as_it_was_written(tmp_path: Path, suffix: str, leading: list[str]) -> None:
    path = tmp_path / f"table{suffix}"
    table = Table(path, flat_columns(leading, 6))
    names = ["-1.jpg", "a/2.jpg", "a; =3.jpg"]
    items = [item(*LABELS, state="succeeded"), item(state="failed"), item("one", state="succeeded")]
    table.append(
        row(each, **dict.fromkeys(leading, name)) for name, each in zip(names, items, strict=True)
    )
    table.finish()
    answers = read_table(path)
    assert list(answers) == names
    assert answers["-1.jpg"].labels == LABELS
    assert answers["-1.jpg"].probabilities == pytest.approx([1 / (k + 2) for k in range(6)])
    assert answers["a/2.jpg"] == Answer("a/2.jpg", (), (), None)
    assert answers["a; =3.jpg"] == Answer("a; =3.jpg", ("one",), (0.5,), "v")


def table_below_a_threshold(path: Path) -> Path:
    table = Table(path, flat_columns(["path"], 6, with_threshold=True))
    below = item("one", state="succeeded", below_threshold=True, labels=())
    table.append([row(below, path="a.jpg"), row(item("two", state="succeeded"), path="b.jpg")])
    table.finish()
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_without_the_labels_below_a_threshold_is_refused(
    tmp_path: Path, suffix: str
) -> None:
    with pytest.raises(UsageError, match="--min-score"):
        read_table(table_below_a_threshold(tmp_path / f"table{suffix}"))


def test_json_lines_have_the_labels_below_a_threshold_too(tmp_path: Path) -> None:
    assert read_table(table_below_a_threshold(tmp_path / "table.jsonl")) == {
        "a.jpg": Answer("a.jpg", ("one",), (0.5,), "v", reaching=0),
        "b.jpg": Answer("b.jpg", ("two",), (0.5,), "v"),
    }


@pytest.mark.parametrize(
    "name, text",
    [("a.txt", ""), ("a.csv", "x,y\n1,2\n"), ("a.jsonl", "{}\n"), ("a.jsonl", "no\n")],
)
def test_a_file_that_is_no_table_of_results(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=name):
        read_table(tmp_path / name)
