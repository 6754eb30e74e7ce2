"""An evaluation of pictures that may have several right labels, or none."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from client.cli.command import main
from client.cli.exits import Exit
from client.evaluation.several_labels import Labelled, LabelledPictures, figures

#: By path: its right labels, and the labels with their scores. The threshold is 0.5.
PICTURES: dict[str, tuple[set[str], dict[str, float]]] = {
    "1.jpg": ({"cat", "indoors"}, {"cat": 0.9, "indoors": 0.8, "dog": 0.1}),
    "2.jpg": ({"cat", "dog"}, {"dog": 0.7, "indoors": 0.6, "cat": 0.2}),
    "3.jpg": (set(), {"dog": 0.3, "cat": 0.2, "indoors": 0.1}),
    "4.jpg": ({"dog"}, {"dog": 0.4, "cat": 0.2, "indoors": 0.1}),
    "sub/<5>.jpg": ({"cat"}, {}),  # failed
}


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """It reads a table of `upload`. Picture 6 is not in it."""
    with open(tmp_path / "truth.csv", "w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["path", "label"])
        for path, (right, _) in PICTURES.items():
            lines.writerows([path, each] for each in sorted(right) or [""])
        lines.writerow(["6.jpg", "cat"])
    rows = [_row(path, scores) for path, (_, scores) in PICTURES.items()]
    (tmp_path / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "pictures").mkdir()
    options = {"--truth": "truth.csv", "--table": "table.jsonl", "--output": "out"}
    files = [word for name, file in options.items() for word in (name, str(tmp_path / file))]
    return ["evaluate", str(tmp_path / "pictures"), "--several-labels", *files]


def _row(path: str, scores: dict[str, float]) -> dict[str, Any]:
    labels = [name for name, score in scores.items() if score >= 0.5]
    return {
        "path": path,
        "state": "succeeded" if scores else "failed",
        "label": labels[0] if labels else None,
        "labels": labels,
        "below_threshold": bool(scores) and not labels,
        "predictions": [
            {"class_id": 0, "class_name": name, "probability": score}
            for name, score in scores.items()
        ],
        "error": None,
        "model_version": "m-1",
        "cache_hit": False,
        "durations": None,
    }


def test_labels_that_are_wrong_or_missing_are_counted(
    command: list[str], tmp_path: Path, capsys: Any
) -> None:
    assert main(command) == Exit.SOME_FAILED
    text = capsys.readouterr().out
    assert "4 pictures, model m-1\n" in text
    assert "all labels right, and none missing: 50.0 %" in text
    assert "all labels together: precision 75.0 %, recall 60.0 %, F1 66.7 %" in text
    assert "left out: 1 picture failed" in text
    assert "left out: 1 picture of the list not in the table" in text
    with open(tmp_path / "out" / "classes.csv", newline="") as file:
        classes = {row["class"]: row for row in csv.DictReader(file)}
    assert [classes["dog"][name] for name in ("pictures", "predicted", "right")] == ["2", "1", "1"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "wrong: indoors<br>missing: cat" in page and "missing: dog" in page
    stored = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert (stored["exact"]["right"], stored["exact"]["of"]) == (2, 4)


def test_a_model_with_softmax_gets_a_hint(command: list[str], tmp_path: Path, capsys: Any) -> None:
    hint = "The scores look like those of softmax: each picture got one label at most."
    assert main(command) == Exit.SOME_FAILED
    assert hint not in capsys.readouterr().out
    scores = {"cat": 0.9, "dog": 0.06, "indoors": 0.04}
    lines = [json.dumps(_row(path, scores)) + "\n" for path in PICTURES]
    (tmp_path / "table.jsonl").write_text("".join(lines))
    assert main(command) == Exit.OK
    assert hint in capsys.readouterr().out


def test_the_stricter_of_the_thresholds_holds(command: list[str], capsys: Any) -> None:
    main([*command, "--min-score", "0.75", "--json"])
    result = json.loads(capsys.readouterr().out)
    # Of the labels that reach 0.5, cat and indoors of the first picture are left.
    assert result["micro"]["precision"] == 1 and result["micro"]["recall"] == pytest.approx(0.4)


def test_names_stand_for_labels(command: list[str], tmp_path: Path, capsys: Any) -> None:
    names = {"cat": ["cat", "dog"], "dog": ["wolf"]}
    (tmp_path / "names.json").write_text(json.dumps(names))
    main([*command, "--names", str(tmp_path / "names.json"), "--json"])
    classes = {each["name"]: each for each in json.loads(capsys.readouterr().out)["classes"]}
    assert (classes["cat"]["predicted"], classes["cat"]["right"]) == (2, 2)
    assert (classes["dog"]["pictures"], classes["dog"]["predicted"]) == (2, 0)


@pytest.mark.parametrize("options", [[], ["--truth", "a.csv", "--compare", "b.jsonl"]])
def test_it_needs_a_list_and_compares_nothing(
    tmp_path: Path, capsys: Any, options: list[str]
) -> None:
    command = ["evaluate", str(tmp_path), "--several-labels", "--table", "a.jsonl", *options]
    assert main(command) == Exit.USAGE
    words = "--several-labels needs --truth FILE, and cannot be combined with --compare."
    assert words in capsys.readouterr().err


def test_a_list_with_two_labels_of_a_picture_names_the_option(
    command: list[str], capsys: Any
) -> None:
    command.remove("--several-labels")
    assert main(command) == Exit.USAGE
    assert "has the labels cat and indoors. If pictures may have" in capsys.readouterr().err


def test_no_label_at_all_is_no_error() -> None:
    result = figures(LabelledPictures(labelled=[Labelled("1", frozenset(), frozenset())]))
    assert result["exact"]["share"] == 1
    assert result["micro"] == result["macro"] == {"precision": 0, "recall": 0, "f1": 0}
