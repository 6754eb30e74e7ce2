"""The command `evaluate`, against a scripted service that reads a picture's label in its bytes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.cli import evaluate
from client.cli.command import main
from client.cli.exits import Exit
from client.evaluation.judged import Judged
from client.evaluation.label_errors import suspects
from tests.client.scripted_jobs import ScriptedJobs, pictures_of
from tests.client.scripted_server import Answer, Cut, Request, ScriptedServer, scripted_server

LABELS = ("cat", "dog", "<b>owl</b>")


class Labels(ScriptedJobs):
    """A picture is a list of labels and probabilities: `cat 0.9 dog 0.1`."""

    def __call__(self, request: Request) -> Answer | Cut:
        if "/model/labels" in request.path:
            return Answer(200, {"version": "v", "labels": [{"name": each} for each in LABELS]})
        return super().__call__(request)

    def put(self, job: Any, number: int, body: bytes) -> Answer | Cut:
        answer = super().put(job, number, body)
        for position, data in enumerate(pictures_of(body)):
            words = data.decode().split()
            if words[0] != "bad":
                pairs = zip(words[::2], words[1::2], strict=True)
                job.items[32 * number + position]["predictions"] = [
                    {"class_id": 0, "class_name": name, "probability": float(probability)}
                    for name, probability in pairs
                ]
        return answer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server(Labels()) as running:
        yield running


PICTURES = {
    "cat/1.jpg": "cat 0.9 dog 0.1",
    "cat/2.jpg": "cat 0.8 dog 0.15",
    "cat/3.jpg": "dog 0.95 cat 0.05",
    "dog/1.jpg": "dog 0.7 cat 0.2",
    "dog/2.jpg": "bad",
    "<b>owl</b>/=1.jpg": "dog 0.4 <b>owl</b> 0.3",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in PICTURES.items():
        path = tmp_path / "pictures" / name.replace("</", "<\\")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "pictures"


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """A folder cannot be called `<b>owl</b>`."""
    path = tmp_path / "names.csv"
    path.write_text("name,label\n<b>owl<\\b>,<b>owl</b>\n")
    return path


def test_an_evaluation_reports_what_is_right(
    server: ScriptedServer, folder: Path, names: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "report"
    command = ["evaluate", str(folder), "--url", server.url, "--names", str(names)]
    command += ["--output", str(out)]
    assert main(command) == Exit.SOME_FAILED
    text = capsys.readouterr().out
    assert "5 pictures, model" in text
    assert "top-1: 60.0 % (23.1 to 88.2 %) are right" in text
    assert "top-5: 100.0 %" in text
    assert "left out: 1 picture failed" in text
    assert "1 × cat as dog" in text
    figures = json.loads((out / "figures.json").read_text())
    assert (figures["pictures"], figures["failed"]) == (5, 1)
    with open(out / "confusion.csv", newline="") as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    assert (rows["cat"]["cat"], rows["cat"]["dog"]) == ("2", "1")
    with open(out / "label-errors.csv", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["cat/3.jpg"]
    page = (out / "report.html").read_text()
    assert "likely dog, margin 0.90" in page
    assert "The margin is the probability of the likely label less that of the label" in page
    assert "<b>" not in page and "&lt;b&gt;owl" in page
    assert 'src="../pictures/cat/3.jpg"' in page

    sent = len(server.requests)
    assert main([*command, "--json"]) == Exit.SOME_FAILED
    assert json.loads(capsys.readouterr().out)["top_1"]["right"] == 3
    assert not any("/parts/" in each.path for each in server.requests[sent:])


def test_a_table_is_compared_with_another_without_the_service(
    server: ScriptedServer, folder: Path, names: Path, tmp_path: Path, capsys: Any
) -> None:
    table = tmp_path / "labels.csv"
    upload = ["upload", str(folder), "--recursive", "--url", server.url, "--top-k", "5"]
    main([*upload, "--output", str(table)])
    other = tmp_path / "other.csv"
    other.write_text(table.read_text().replace('"dog",0.95', '"cat",0.95'))
    capsys.readouterr()
    command = ["evaluate", str(folder), "--table", str(table), "--compare", str(other)]
    command += ["--names", str(names), "--output", str(tmp_path / "out"), "--json"]
    requests = len(server.requests)
    assert main(command) == Exit.SOME_FAILED
    assert len(server.requests) == requests
    comparison = json.loads(capsys.readouterr().out)["comparison"]
    assert (comparison["only_first"], comparison["only_second"]) == (0, 1)
    assert comparison["p_value"] == 1
    with open(tmp_path / "out" / "differences.csv", newline="") as file:
        [row] = csv.DictReader(file)
    assert row == {"path": "cat/3.jpg", "class": "cat", "label": "dog", "other_label": "cat"}
    main(command[:-1])
    assert "makes such a difference in 100 of 100 cases" in capsys.readouterr().out


@pytest.mark.parametrize(
    "p_value, text",
    [(1, "100"), (0.996, "100"), (0.0996, "10"), (0.0312, "3.1"), (1e-9, "less than 0.01")],
)
def test_a_share_of_cases_has_no_exponent(p_value: float, text: str) -> None:
    comparison = {"pictures": 2, "only_first": 1, "only_second": 0, "different_labels": 1}
    lines = "".join(evaluate._comparison_lines(comparison | {"p_value": p_value}))
    assert f"in {text} of 100 cases" in lines


def test_min_score_says_how_many_labels_are_left_and_sends_nothing(
    server: ScriptedServer, folder: Path, names: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "report"
    command = ["evaluate", str(folder), "--url", server.url, "--names", str(names)]
    command += ["--output", str(out)]
    main(command)
    assert "reaches its threshold" not in capsys.readouterr().out
    sent = len(server.requests)
    main([*command, "--min-score", "0.75"])
    text = capsys.readouterr().out
    assert "a label reaches its threshold for 60.0 %; 66.7 % of these are right" in text
    assert "top-1: 60.0 %" in text, "the other figures are those of the best label"
    assert not any("/parts/" in each.path for each in server.requests[sent:])
    figures = json.loads((out / "figures.json").read_text())
    row = {"threshold": 0.75, "answered": 0.6, "right": pytest.approx(2 / 3)}
    assert figures["labelled"] == row and row in figures["thresholds"]
    main([*command, "--min-score", "1"])
    assert "a label reaches its threshold for 0.0 %\n" in capsys.readouterr().out


def test_thresholds_of_the_model_count_and_the_stricter_one_holds(
    server: ScriptedServer, folder: Path, names: Path, tmp_path: Path, capsys: Any
) -> None:
    """As if the model had a threshold of 0.85 for cats."""
    out = tmp_path / "report"
    command = ["evaluate", str(folder), "--url", server.url, "--names", str(names)]
    main([*command, "--output", str(out)])
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    for row in rows:
        if row["label"] == "cat" and row["predictions"][0]["probability"] < 0.85:
            row |= {"label": None, "labels": [], "below_threshold": True}
    table = tmp_path / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command += ["--table", str(table), "--json", "--output", str(out)]
    capsys.readouterr()
    for min_score, answered, right in (("0", 0.8, 0.5), ("0.6", 0.6, 2 / 3), ("0.9", 0.4, 0.5)):
        main([*command, "--min-score", min_score])
        figures = json.loads(capsys.readouterr().out)
        left = figures["labelled"]
        assert (left["answered"], left["right"]) == (answered, pytest.approx(right))
        assert figures["top_1"]["right"] == 3


def test_a_threshold_that_is_asked_for_is_answered_also_if_all_labels_reach_it(
    server: ScriptedServer, tmp_path: Path, capsys: Any
) -> None:
    folder = tmp_path / "pictures"
    (folder / "cat").mkdir(parents=True)
    (folder / "cat" / "1.jpg").write_text("cat 0.98 dog 0.02")
    command = ["evaluate", str(folder), "--url", server.url, "--output", str(tmp_path / "out")]
    assert main([*command, "--min-score", "0.01"]) == Exit.OK
    assert "a label reaches its threshold for 100.0 %" in capsys.readouterr().out


def test_the_temperature_that_helps_is_named_with_the_command_that_sets_it(
    server: ScriptedServer, tmp_path: Path, capsys: Any
) -> None:
    """Three of four are right, and the model says 98 %."""
    folder = tmp_path / "pictures"
    for k in range(40):
        path = folder / ("cat" if k % 4 else "dog") / f"{k}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("cat 0.98 dog 0.02")
    out = tmp_path / "report"
    command = ["evaluate", str(folder), "--url", server.url, "--output", str(out)]
    assert main(command) == Exit.OK
    text = capsys.readouterr().out
    best = json.loads((out / "figures.json").read_text())["temperature"]
    assert f"temperature: {best['temperature']:.2f} (" in text
    assert "labels from 23.0 to 0.0 %:" in text
    line = f"    python -m workers.models set NAME --temperature {best['temperature']:.2f}\n"
    assert line + "  If the package has a temperature already, set the product" in text
    page = (out / "report.html").read_text()
    assert f"<td>best temperature</td><td>{best['temperature']:.2f}</td>" in page


def test_a_temperature_that_is_not_surely_better_is_advised_nowhere(
    server: ScriptedServer, folder: Path, names: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "report"
    command = ["evaluate", str(folder), "--url", server.url, "--names", str(names)]
    main([*command, "--output", str(out)])
    best = json.loads((out / "figures.json").read_text())["temperature"]
    assert best and not best["helps"]
    reason = "none makes the probabilities surely better (the best is between"
    assert f"  temperature: {reason} {best['low']:.2f} and " in capsys.readouterr().out
    page = (out / "report.html").read_text()
    assert f"<td>temperature</td><td>{reason}" in page and "best temperature" not in page


def test_a_share_of_no_pictures_is_no_percentage(
    server: ScriptedServer, tmp_path: Path, capsys: Any
) -> None:
    """No picture is labelled dog, and none got the label owl."""
    folder = tmp_path / "pictures"
    for name, text in {"cat/1": "dog 0.9 cat 0.1", "cat/2": "cat 0.9 dog 0.1"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.jpg").write_text(text)
    (folder / "owl").mkdir()
    (folder / "owl" / "1.jpg").write_text("cat 0.8 dog 0.2")
    (tmp_path / "names.csv").write_text("name,label\nowl,<b>owl</b>\n")
    command = ["evaluate", str(folder), "--url", server.url, "--output", str(tmp_path / "out")]
    assert main([*command, "--names", str(tmp_path / "names.csv")]) == Exit.OK
    with open(tmp_path / "out" / "classes.csv", newline="") as file:
        shares = {row["class"]: [row["precision"], row["recall"]] for row in csv.DictReader(file)}
    assert shares == {"cat": ["0.5", "0.5"], "dog": ["0.0", ""], "owl": ["", "0.0"]}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<td>dog</td><td>0</td><td>0.0 %</td><td>-</td><td>-</td>" in page
    assert "<td>owl</td><td>1</td><td>-</td><td>0.0 %</td><td>0.0 %</td>" in page


def test_a_folder_whose_name_is_no_label_is_refused_before_anything_is_sent(
    server: ScriptedServer, folder: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    command = ["evaluate", str(folder), "--url", server.url, "--output", str(out)]
    assert main(command) == Exit.USAGE
    assert "The model does not have 1 label: <b>owl<" in capsys.readouterr().err
    assert not out.exists()
    assert not any(each.path.endswith("/jobs") for each in server.requests)


def test_a_label_is_suspected_where_the_model_is_surer_than_usual_of_another() -> None:
    def picture(name: str, truth: str, **probabilities: float) -> Judged:
        order = sorted(probabilities, key=lambda label: -probabilities[label])
        return Judged(name, truth, tuple(order), tuple(probabilities[each] for each in order))

    pictures = [
        picture("1", "cat", cat=0.9, dog=0.1),
        picture("2", "cat", cat=0.7, dog=0.3),
        picture("3", "dog", dog=0.6, cat=0.4),
        picture("4", "dog", cat=0.85, dog=0.15),  # cats get 0.8 on average
        picture("5", "dog", cat=0.75, dog=0.25),  # less than cats usually get
        picture("6", "cat", cat=0.8, dog=0.2),
        picture("7", "dog", owl=0.99, dog=0.01),  # no picture is labelled owl
    ]
    [suspect] = suspects(pictures)
    assert (suspect.picture.path, suspect.label) == ("4", "cat")
    assert suspect.margin == pytest.approx(0.7)
