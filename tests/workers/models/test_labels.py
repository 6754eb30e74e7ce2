"""Labels are read from the files in which people have them, and none is ever shifted."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import ModelError
from workers.models.labels import read_labels


@pytest.mark.parametrize(
    "name, text",
    [
        ("labels.txt", "cat\nship, sea\nowl\n"),
        ("labels.json", '["cat", "ship, sea", "owl"]'),
        ("labels.json", '{"2": "owl", "0": "cat", "1": "ship, sea"}'),
        ("labels.csv", 'label\ncat\n"ship, sea"\nowl\n'),
        ("labels.csv", '\ufeffid,label\n2,owl\n0,cat\n1,"ship, sea"\n'),
        ("labels.csv", "id;name;note\n0;cat;x\n1;ship, sea;y\n2;owl;\n"),
    ],
)
def test_labels_by_class(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_labels(tmp_path / name) == ("cat", "ship, sea", "owl")


def test_a_column_is_chosen(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("number,german\n0,Katze\n1,Hund\n")
    assert read_labels(tmp_path / "labels.csv", column="german") == ("Katze", "Hund")


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("labels.csv", "number,german\n0,Katze\n", "Say which has the labels: --label-column"),
        ("labels.csv", "id,label\n0,cat\n2,dog\n", "none for the class 1"),
        ("labels.csv", "id,label\n0,cat\n1,\n", "the label of the class 1 is not text"),
        ("labels.json", '{"a": "cat"}', "ids of labels must be numbers"),
        ("labels.json", '["cat", 3]', "the label of the class 1 is not text: 3"),
        ("labels.json", "3", "a JSON list of labels, or an object"),
        ("labels.json", "{", "cannot be read as JSON"),
        ("labels.json", "[]", "has no labels"),
        ("labels.txt", "cat\n\ndog\n", "line 2"),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ModelError, match=message):
        read_labels(tmp_path / name)
