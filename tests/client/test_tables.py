"""Tables that a later run can continue and any program can read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from client.errors import UsageError
from client.api.records import Durations, Item, ItemError, Prediction
from client.tables.formats import Csv
from client.tables.rows import flat_columns, row
from client.tables.table import Table, check_table_path, rows_path
from shared import jobs
from web.follow.result_formats import LINE_FORMATS, item_json
from web.schemas.results import ResultFormat

GOOD = Item(
    index=0,
    name="",
    state="succeeded",
    predictions=(Prediction(281, "tabby", 0.75), Prediction(285, "Egyptian cat", 0.125)),
    labels=("tabby",),
    model_version="m-1",
    durations=Durations(1.0, 2.0, 3.5),
)
BAD = Item(index=1, name="", state="failed", error=ItemError("empty_file", "The file is empty."))
COLUMNS = flat_columns(["path"], 2)


def cells(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_row_has_the_same_columns(tmp_path: Path) -> None:
    table = Table(tmp_path / "t.csv", COLUMNS)
    table.append([row(GOOD, path="a.jpg"), row(BAD, path="b.jpg")])
    table.finish()
    good, bad = cells(tmp_path / "t.csv")
    assert list(good) == list(bad) == COLUMNS
    assert (good["label"], good["probability"], good["label_2"]) == (
        "tabby",
        "0.75",
        "Egyptian cat",
    )
    assert (good["inference_ms"], good["cache_hit"]) == ("3.5", "false")
    assert (bad["state"], bad["error_code"], bad["label"]) == ("failed", "empty_file", "")


def test_a_name_is_not_a_formula_for_a_spreadsheet(tmp_path: Path) -> None:
    signs = ["=1+1", "+a", "-b", "@c", "\td", "\n1", "\r1", " =1", "\uff1d1+1", "\ufeff=1"]
    names = [*signs, 'quo"te, and\nline', "plain", "a-b", "x=1"]
    table = Table(tmp_path / "t.csv", COLUMNS)
    table.append([row(GOOD, path=name) for name in names])
    table.finish()
    written = [line["path"] for line in cells(tmp_path / "t.csv")]
    assert written == [f"'{name}" for name in signs] + names[len(signs) :]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_no_separator_splits_a_text_into_a_formula(tmp_path: Path, separator: str) -> None:
    names = ["x;=cmd|' /C calc'!A0", "x\t=1+1", "|=2", "x,=1", 'x";=1', 'x;"=1', "x\n=1;", "x; =1"]
    error = ItemError("code", "=1;=2")
    failed = Item(index=1, name="", state="failed", error=error)
    columns = flat_columns(["path", "name"], 1)
    table = Table(tmp_path / "t.csv", columns)
    table.append([row(failed, path=name, name=name) for name in names])
    table.finish()
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        read = [cell for line in csv.reader(file, delimiter=separator) for cell in line]
    assert len(read) > len(names)
    assert not [cell for cell in read if cell.strip().startswith(("=", "+", "-", "@"))]
    # Names with signs in other places stay as they are.
    table = Table(tmp_path / "t.csv", columns)
    table.append([row(GOOD, path="IMG - 1 (a+b)=c;x.jpg", name="a;b|c\td")])
    table.finish()
    [line] = cells(tmp_path / "t.csv")
    assert (line["path"], line["name"]) == ("IMG - 1 (a+b)=c;x.jpg", "a;b|c\td")


def test_a_custom_id_has_no_control_characters_in_csv(tmp_path: Path) -> None:
    table = Table(tmp_path / "t.csv", flat_columns(["custom_id"], 1))
    ids = ["\n=1+1", "a\r\n=LINK(1)", "\x1b]0;evil\x07", "\u202egpj.exe", "Füße \u200d 写真"]
    table.append([row(GOOD, custom_id=each) for each in ids])
    table.finish()
    written = [line["custom_id"] for line in cells(tmp_path / "t.csv")]
    assert written == ["'=1+1", "a=LINK(1)", "]0;evil", "gpj.exe", "Füße \u200d 写真"]


def test_the_client_and_the_service_write_the_same_csv() -> None:
    names = ["=1+1", "x;=1|+2", "\t=1", " -1", "a-b", 'quo"te, and\nline', "\uff1d1", "12", "true"]
    service, columns = LINE_FORMATS[ResultFormat.CSV], flat_columns(
        ["index", "name", "custom_id"], 2, with_threshold=True
    )
    assert Csv(columns).head().encode() == service.head(2)
    for name in names:
        best = jobs.Prediction(281, name, 0.75)
        good = jobs.Outcome(
            state=jobs.ItemState.SUCCEEDED,
            predictions=(best, jobs.Prediction(0, "", 1e-9)),
            model_version="m-1",
            durations=jobs.Durations(queue_ms=1.0, preprocess_ms=22.125, inference_ms=0.0),
        )
        error = jobs.ItemError(code="decode_failed", message=name)
        bad = jobs.Outcome(state=jobs.ItemState.FAILED, error=error)
        for outcome, min_score in ((good, 0.75), (good, 0.8), (bad, 0.8), (None, 0.8)):
            state = outcome.state if outcome else jobs.ItemState.QUEUED
            item = jobs.Item(
                index=7,
                name=name,
                custom_id=None,
                outcome=outcome,
                state=state,
                min_score=min_score,
            )
            received = Item.of(json.loads(item_json(item)))
            nested = row(received, index=received.index, name=name, custom_id=None)
            assert Csv(columns).text([nested]).encode() == service.lines([item], 2)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_rows_after_the_noted_length_are_cut_off(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    table = Table(path, COLUMNS)
    table.append([row(GOOD, path="a.jpg")])
    noted = table.commit()
    table.append([row(GOOD, path="b.jpg")])
    table.close()
    with open(rows_path(path), "ab") as torn:
        torn.write(b'"half a r')

    table = Table(path, COLUMNS, length=noted)
    table.append([row(BAD, path="b.jpg")])
    table.commit()
    table.finish()
    assert paths_of(path) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_a_table_that_has_become_shorter_is_left_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    table = Table(path, COLUMNS)
    table.append([row(GOOD, path="a.jpg")])
    noted = table.commit()
    table.close()
    rows_path(path).write_bytes(b"edited")
    with pytest.raises(UsageError, match="has been changed or removed"):
        Table(path, COLUMNS, length=noted)
    assert rows_path(path).read_bytes() == b"edited"


def paths_of(path: Path) -> list[str]:
    if path.suffix == ".csv":
        return [line["path"] for line in cells(path)]
    if path.suffix == ".jsonl":
        return [json.loads(line)["path"] for line in path.read_text().splitlines()]
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    read: list[str] = parquet.read_table(path)["path"].to_pylist()
    return read


def test_parquet_has_types_and_is_complete_or_absent(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    table = Table(tmp_path / "t.parquet", COLUMNS)
    table.append([row(GOOD, path="a.jpg"), row(BAD, path="b.jpg")])
    assert not (tmp_path / "t.parquet").exists()
    table.finish()
    read = parquet.read_table(tmp_path / "t.parquet")
    assert read.column_names == COLUMNS
    assert read["probability"].to_pylist() == [0.75, None]
    assert read["class_id"].to_pylist() == [281, None]
    assert read["cache_hit"].to_pylist() == [False, False]


def test_an_unknown_format_or_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must end in"):
        check_table_path(tmp_path / "t.xlsx")
    with pytest.raises(UsageError, match="not a folder"):
        check_table_path(tmp_path / "nowhere" / "t.csv")
