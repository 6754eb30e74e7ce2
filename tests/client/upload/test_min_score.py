"""`upload --min-score`: a picture below it has a row without a label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from client.cli.exits import Exit
from tests.client.upload.conftest import Upload


@pytest.mark.parametrize("min_score, label", [("0.5", "tabby"), ("0.6", "")])
def test_a_picture_below_min_score_has_a_row_without_a_label(
    upload: Upload, folder: Path, min_score: str, label: str
) -> None:
    (folder / "d.jpg").write_text("soon")
    status, printed, _ = upload("--min-score", min_score)
    assert status == Exit.SOME_FAILED
    below = (
        f"{len(upload.rows()) - 1} of this run have no label, because none reaches its threshold"
    )
    assert (below in printed) == (not label)
    by_path = {row["path"]: row for row in upload.rows()}
    good, failed = by_path["a.jpg"], by_path["d.jpg"]
    assert (good["label"], good["below_threshold"]) == (label, str(not label).lower())
    assert (good["probability"], good["class_id"]) == ("0.5", "281")
    assert (failed["label"], failed["below_threshold"]) == ("", "false")
    assert list(good)[-2:] == ["below_threshold", "label_count"]
    assert (good["label_count"], failed["label_count"]) == (str(len(label) // 5), "0")


def test_a_table_is_continued_with_the_same_min_score_only(upload: Upload) -> None:
    upload("--min-score", "0.6")
    before = upload.table.read_bytes()
    for options in (["--min-score", "0.7"], []):
        status, _, error = upload("--resume", *options)
        assert status == Exit.USAGE and "an upload with min_score 0.6, not" in error
    assert upload("--resume", "--min-score", "0.60")[0] == Exit.OK
    assert upload.table.read_bytes() == before


def test_a_table_of_an_earlier_release_is_continued_with_its_columns(
    upload: Upload, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr("client.upload.journal._COLUMNS", 1)
        upload()
    journal = upload.table.with_name("table.csv.journal")
    first, *others = journal.read_text().splitlines()
    header = json.loads(first)
    assert (header.pop("min_score"), header.pop("columns")) == (0, 1)
    journal.write_text("\n".join([json.dumps(header), *others]) + "\n")
    (folder / "new.jpg").write_text("picture")
    assert upload("--resume")[0] == Exit.OK
    rows = upload.rows()
    assert len(rows) == 4 and all(None not in row for row in rows)
    assert {"below_threshold", "label_count"}.isdisjoint(rows[0])


@pytest.mark.parametrize("value", ["60", "-0.1", "nan", "half"])
def test_a_wrong_min_score_is_refused(upload: Upload, capsys: Any, value: str) -> None:
    with pytest.raises(SystemExit) as refused:
        upload(f"--min-score={value}")
    assert refused.value.code == Exit.USAGE
    assert "--min-score" in capsys.readouterr().err
