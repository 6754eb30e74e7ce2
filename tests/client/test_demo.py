"""The table of the demo: every file has a row, also after an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from client import ImageClassifier, Retries
from client.cli.demo import Row, classify, main, pictures_in, sample_pictures, table
from tests.support.local_service import free_port
from tests.client.scripted_server import Answer, Request, scripted_server


@pytest.fixture
def nowhere() -> str:
    """An address at which nothing listens."""
    return f"http://127.0.0.1:{free_port()}"


def printed_table(*rows: Row) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(table(rows))
    return captured.get()


def test_the_samples_are_located_without_importing_scikit_image() -> None:
    program = (
        "import sys; from client.cli.demo import sample_pictures; "
        "assert all(p.is_file() for p in sample_pictures()); "
        "assert not {'skimage', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=True)
    assert [path.name for path in sample_pictures()] == ["chelsea.png", "coffee.png", "rocket.jpg"]


def test_files_of_a_folder_are_sorted_and_hidden_ones_are_skipped(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.png", ".DS_Store"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    assert [path.name for path in pictures_in(tmp_path)] == ["a.png", "b.jpg"]


def test_a_missing_folder_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([f"{tmp_path}/missing"])
    assert ended.value.code == 2
    assert f"No such file or directory: {tmp_path}/missing" in capsys.readouterr().err


def test_without_a_service_each_row_has_the_error_and_the_demo_fails(
    tmp_path: Path, nowhere: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"any")
    assert main([str(tmp_path), "--url", nowhere]) == 1
    assert "Nothing answers at" in capsys.readouterr().out


def test_an_address_that_cannot_work_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"any")
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path), "--url", "ftp://x"])
    assert ended.value.code == 2
    assert "'ftp://x' is not an address" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_has_a_row(tmp_path: Path, nowhere: str) -> None:
    with ImageClassifier(nowhere, retries=Retries(total_seconds=0)) as service:
        row = classify(service, tmp_path / "gone.jpg")
    assert not row.classified
    assert "FileNotFoundError" in row.label


def test_a_name_that_is_not_utf_8_has_a_row(tmp_path: Path, nowhere: str) -> None:
    picture = Path(f"{tmp_path}/caf\udce9.jpg")
    picture.write_bytes(b"any")
    with ImageClassifier(nowhere, retries=Retries(total_seconds=0)) as service:
        assert classify(service, picture).file == r"caf\xe9.jpg"


def test_a_row_shows_label_probability_and_the_three_durations() -> None:
    row = Row(
        file="cat.jpg",
        classified=True,
        label="Egyptian cat",
        probability=0.8331,
        durations=(6.24, 5.0, 6.41),
    )
    [line] = [line for line in printed_table(row).splitlines() if "cat.jpg" in line]
    assert line.split() == ["cat.jpg", "Egyptian", "cat", "83.3%", "6.2", "5.0", "6.4"]


def test_the_model_version_stands_below_the_table() -> None:
    row = Row(file="a", classified=True, label="x", model_version="mobilenet_v3_large-random-0-p2")
    assert "mobilenet_v3_large-random-0-p2" in printed_table(row)


def test_the_notice_of_the_model_stands_below_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(request: Request) -> Answer:
        if request.path.endswith("/model/info"):
            numbers = {"classes": 10, "input_size": 32}
            words = ("name", "version", "weights", "weights_digest", "engine")
            return Answer(body=dict.fromkeys(words, "m") | numbers | {"notice": "ten classes"})
        prediction = {"class_id": 3, "class_name": "cat", "probability": 0.9}
        return Answer(body={"job_id": "1", "name": "cat.jpg", "predictions": [prediction]})

    (tmp_path / "cat.jpg").write_bytes(b"any")
    with scripted_server(script) as server:
        assert main([str(tmp_path), "--url", server.url]) == 0
    printed = capsys.readouterr().out
    assert "cat.jpg  cat" in printed and printed.endswith("\nten classes\n")


def test_an_answer_from_the_cache_has_no_durations() -> None:
    assert "cached" in printed_table(
        Row(file="cat.jpg", classified=True, label="cat", probability=1.0)
    )


def test_square_brackets_in_names_are_not_markup() -> None:
    assert "[red]cat.jpg" in printed_table(
        Row(file="[red]cat.jpg", classified=False, label="[bold]x")
    )
