"""The requests and the output of the command, with a scripted server."""

from __future__ import annotations

import json

import pytest

from client.cli.command import main
from client.cli.exits import Exit
from tests.client.scripted_jobs import ScriptedJobs, ScriptedJob
from tests.client.scripted_server import Answer, Cut, Request, in_order, scripted_server

LETTER = {"id": "j:0:1:1", "job_id": "j", "index": 1, "name": "bomb.jpg", "lane": "bulk", "at": 0.0}


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server(in_order(Answer(200, {"dead_letters": []}))) as server:
        monkeypatch.setenv("IMAGE_CLASSIFIER_URL", server.url)
        monkeypatch.setenv("IMAGE_CLASSIFIER_API_KEY", "imgc_key")
        assert main(["dead-letters", "list"]) == Exit.OK
    assert server.requests[0].headers["Authorization"] == "Bearer imgc_key"


def test_dead_letters_are_listed_and_retried(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def script(request: Request) -> Answer | Cut:
        if request.method == "GET":
            return Answer(200, {"dead_letters": [LETTER]})
        return Answer(202, ScriptedJobs().status("j", ScriptedJob(2)))

    with scripted_server(script) as server:
        assert main(["dead-letters", "list", "--url", server.url]) == Exit.OK
        assert "job j, item 1: bomb.jpg" in capsys.readouterr().out
        main(["dead-letters", "retry", "--all", "--json", "--url", server.url])
    assert json.loads(capsys.readouterr().out) == {"j:0:1:1": "j"}
    assert server.requests[-1].path == "/api/v1/dead-letters/j:0:1:1/retry"


def test_an_id_is_always_one_segment_of_the_path() -> None:
    with scripted_server(in_order(Answer(404, {"code": "job_not_found"}))) as server:
        assert main(["cancel", "../dead-letters?x=/1", "--url", server.url]) == Exit.SERVICE
    assert server.requests[0].path == "/api/v1/jobs/..%2Fdead-letters%3Fx%3D%2F1"
