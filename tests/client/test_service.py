"""The client and its command against the running service."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from client import ImageClassifier, errors
from client.cli.command import main
from client.cli.exits import Exit
from tests.support.local_service import LocalService


@pytest.fixture
def client(service: LocalService) -> Iterator[ImageClassifier]:
    with ImageClassifier(service.base_url) as connected:
        yield connected


def ran(
    capsys: pytest.CaptureFixture[str], service: LocalService, *arguments: object
) -> tuple[int, str]:
    """Exit status and standard output of the command."""
    status = main([*map(str, arguments), "--url", service.base_url])
    return status, capsys.readouterr().out


def test_a_picture_is_classified_from_a_path_and_from_bytes(
    client: ImageClassifier, pictures: Sequence[Path]
) -> None:
    from_path = client.classify(pictures[0], top_k=3)
    from_bytes = client.classify(pictures[0].read_bytes(), top_k=3)
    assert from_path.name == pictures[0].name
    assert len(from_path.predictions) == 3
    assert from_path.predictions == from_bytes.predictions
    assert from_bytes.cache_hit


def test_a_bad_picture_is_an_exception_of_its_own(client: ImageClassifier) -> None:
    with pytest.raises(errors.UnsupportedFormat) as raised:
        client.classify(b"no picture")
    assert raised.value.request_id
    with pytest.raises(errors.PictureRefused):
        client.classify(b"\xff\xd8\xff and then nothing")


def test_an_unknown_job_is_not_found(client: ImageClassifier) -> None:
    with pytest.raises(errors.JobNotFound):
        client.job("nowhere").status()


def test_the_model_is_named(client: ImageClassifier) -> None:
    model = client.model_info()
    assert model.version.startswith(model.name.partition(" (")[0])


def test_the_command_prints_labels_and_continues_after_a_bad_picture(
    service: LocalService,
    pictures: Sequence[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    gone = tmp_path / "gone.jpg"
    status, out = ran(capsys, service, "classify", bad, gone, pictures[0], "--top-k", 2)
    first, second, third = out.splitlines()
    assert status == Exit.SOME_FAILED
    assert first.startswith(f"{bad}: unsupported_format")
    assert second == f"{gone}: unreadable_file: No such file or directory"
    assert third.startswith(f"{pictures[0]}: ") and third.count("%") == 2

    status, out = ran(capsys, service, "classify", pictures[0], "--json")
    assert status == Exit.OK
    assert json.loads(out)["predictions"][0]["class_name"] in third


def test_an_unknown_job_ends_the_command_with_the_status_of_the_service(
    service: LocalService, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "some-job", "--url", service.base_url]) == Exit.SERVICE
    assert "job_not_found" in capsys.readouterr().err


def test_dead_letters_are_listed_and_a_missing_one_is_an_error(
    service: LocalService, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(capsys, service, "dead-letters", "list", "--json") == (Exit.OK, "[]\n")
    assert ran(capsys, service, "dead-letters", "retry", "a:0:1")[0] == Exit.SERVICE
    assert ran(capsys, service, "dead-letters", "retry")[0] == Exit.USAGE
    assert ran(capsys, service, "dead-letters", "retry", "--all", "--json") == (Exit.OK, "{}\n")


def test_a_job_is_waited_for_read_saved_and_cancelled(
    service: LocalService,
    client: ImageClassifier,
    pictures: Sequence[Path],
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    job = client.submit([pictures[0], b"bad"])

    def command(*arguments: object) -> tuple[int, bytes]:
        status = main([*map(str, arguments), "--url", service.base_url])
        return status, capfdbinary.readouterr().out

    status, out = command("status", job.id, "--wait", 60)
    assert (status, out.splitlines()[0]) == (Exit.SOME_FAILED, f"{job.id}: completed".encode())
    assert json.loads(command("status", job.id, "--json")[1])["counts"]["failed"] == 1

    status, printed = command("results", job.id)
    assert status == Exit.SOME_FAILED and printed.count(b"\r\n") == 3
    command("results", job.id, "--output", tmp_path / "job.csv")
    assert (tmp_path / "job.csv").read_bytes() == printed
    assert os.listdir(tmp_path) == ["job.csv"]
    lines = command("results", job.id, "--json")[1].splitlines()
    assert json.loads(lines[1])["error"]["code"] == "unsupported_format"
    assert command("results", job.id, "--output", tmp_path / "job.xlsx")[0] == Exit.USAGE

    assert main(["cancel", job.id, "--url", service.base_url]) == Exit.OK
    assert b"Nothing was cancelled" in capfdbinary.readouterr().err
    assert client.job(job.id).status().state == "completed"
