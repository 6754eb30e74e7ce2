"""A service that is away when an upload begins is waited for, as it is later."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from client.api.transport.retries import Retries
from client.cli import connect
from client.cli.exits import Exit
from tests.client.scripted_server import Answer, Cut, ScriptedServer, refusal, scripted_server
from tests.client.upload.conftest import Jobs, Upload
from tests.support.local_service import free_port

_AWAY = 5  #: Requests that get no answer.


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other commands wait for a shorter time than these requests take."""
    monkeypatch.setattr(connect, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(Retries, "pause", lambda *_: 0.01)


@pytest.mark.parametrize("fault", [refusal(503, "unavailable"), Cut()], ids=["refused", "cut off"])
@pytest.mark.parametrize(
    ("call", "option"),
    [("usage", "--overwrite"), ("usage", "--resume"), ("model_info", "--resume")],
)
def test_each_first_question_waits(
    upload: Upload,
    folder: Path,
    jobs: Jobs,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    option: str,
    fault: Answer | Cut,
) -> None:
    upload()
    (folder / "d.jpg").write_text("picture d")
    answer, asked = getattr(jobs, call), []

    def away() -> Answer | Cut:
        asked.append(1)
        return fault if len(asked) <= _AWAY else answer()

    monkeypatch.setattr(jobs, call, away)
    status, _, err = upload(option)
    assert (status, len(upload.rows())) == (Exit.OK, 4)
    assert len(asked) > _AWAY and err.count("Trying again in") == 1


def test_the_question_for_embeddings_waits(
    server: ScriptedServer, folder: Path, jobs: Jobs, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def away() -> Answer:
        asked.append(1)
        return refusal(503, "unavailable") if len(asked) <= _AWAY else Jobs.model_info(jobs)

    monkeypatch.setattr(jobs, "model_info", away)
    status, _, err = Upload(server, folder, capsys, "table.jsonl")("--embeddings")
    assert status == Exit.USAGE and "has no embedding" in err


def test_an_address_where_nothing_listens_yet_is_waited_for(
    folder: Path, jobs: Jobs, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, pauses = free_port(), []
    upload = Upload(ScriptedServer(f"http://127.0.0.1:{port}", []), folder, capsys, "table.csv")
    with ExitStack() as stack:

        def pause(*_: object) -> float:
            pauses.append(1)
            if len(pauses) == _AWAY:
                stack.enter_context(scripted_server(jobs, port=port))
            return 0.01

        monkeypatch.setattr(Retries, "pause", pause)
        status, _, err = upload()
    assert (status, len(upload.rows())) == (Exit.OK, 3)
    assert (
        f"Nothing answers at http://127.0.0.1:{port}" in err and err.count("Trying again in") == 1
    )


def test_an_address_where_nothing_listens_is_given_up_in_the_end(folder: Path, capsys: Any) -> None:
    server = ScriptedServer(f"http://127.0.0.1:{free_port()}", [])
    status, _, err = Upload(server, folder, capsys, "table.csv")("--patience", "0.1")
    assert status == Exit.SERVICE and "Nothing answers at" in err
