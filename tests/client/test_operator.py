"""The command of an operator: its requests, tables and questions, with a scripted server."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest

from client.cli.command import main
from client.cli.exits import Exit
from tests.client.scripted_server import Answer, ScriptedServer, in_order, scripted_server

COUNTS = {"total": 3, "queued": 1, "succeeded": 1, "failed": 1, "cancelled": 0, "received": 3}
JOB = {"id": "j1", "owner": "alice", "lane": "bulk", "state": "running", "created_at": 1.0}
JOB |= {"counts": COUNTS}
LANE = {"state": "paused", "since": 60.0, "by": "root", "reason": "new\x1b[31m disk", "workers": 2}
LANE |= {"outstanding_parts": 4, "outstanding_images": 100}
LETTER = {"id": "j:0:1:1", "job_id": "j", "index": 1, "name": "bomb.jpg", "lane": "bulk", "at": 1.0}
LETTER |= {"owner": "bob"}
WORKER = {"name": "bulk@a", "lane": "bulk", "host": None, "engine": None, "model_version": None}
WORKER |= {"started_at": None, "seen_at": 1.0, "parts": None}


def run(server: ScriptedServer, *arguments: str) -> int:
    return main(["--url", server.url, "operator", *arguments])


@pytest.mark.parametrize(
    "arguments, answers, request_line, body, printed",
    [
        (
            ["jobs", "--state", "running", "--owner", "alice"],
            [{"jobs": [JOB], "next_before": None}],
            "GET /api/v1/operator/jobs?state=running&owner=alice&limit=100",
            None,
            ["JOB  OWNER  LANE", "j1   alice  bulk  running  1970-01-01 00:00:01  3       2     1"],
        ),
        (["job", "a/b"], [JOB], "GET /api/v1/operator/jobs/a%2Fb", None, ["JOB", "j1"]),
        (["cancel", "j1"], [JOB], "DELETE /api/v1/operator/jobs/j1", None, ["JOB", "j1"]),
        (
            ["lanes"],
            [{"lanes": {"bulk": LANE}}],
            "GET /api/v1/operator/lanes",
            None,
            ["LANE  STATE", "bulk  paused  1970-01-01 00:01:00  root  2        4      100"],
        ),
        (
            ["pause", "bulk", "--reason", "disk"],
            [LANE],
            "PUT /api/v1/operator/lanes/bulk",
            {"state": "paused", "reason": "disk"},
            ["LANE", "bulk"],
        ),
        (
            ["pause", "bulk", "--refuse"],
            [LANE],
            "PUT /api/v1/operator/lanes/bulk",
            {"state": "closed", "reason": ""},
            ["LANE", "bulk"],
        ),
        (
            ["resume", "interactive"],
            [LANE],
            "PUT /api/v1/operator/lanes/interactive",
            {"state": "open", "reason": ""},
            ["LANE", "interactive"],
        ),
        (
            ["drain", "bulk"],
            [LANE],
            "PUT /api/v1/operator/lanes/bulk",
            {"state": "draining", "reason": ""},
            ["LANE", "bulk"],
        ),
        (
            ["dead-letters"],
            [{"dead_letters": [LETTER]}],
            "GET /api/v1/operator/dead-letters",
            None,
            ["ID", "j:0:1:1  bob    bulk  1970-01-01 00:00:01  j    1     bomb.jpg"],
        ),
        (
            ["delete", "j:0:1:1"],
            [LETTER],
            "DELETE /api/v1/operator/dead-letters/j:0:1:1",
            None,
            ["j:0:1:1: deleted"],
        ),
        (
            ["workers"],
            [{"workers": [WORKER]}],
            "GET /api/v1/operator/workers",
            None,
            ["WORKER", "bulk@a  bulk  -     -       -              -        1970-01-01 00:00:01"],
        ),
    ],
)
def test_an_action_sends_its_request_and_prints_a_table(
    arguments: list[str],
    answers: list[Any],
    request_line: str,
    body: object,
    printed: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with scripted_server(in_order(*(Answer(200, each) for each in answers))) as server:
        assert run(server, *arguments) == Exit.OK
    [request] = server.requests
    assert f"{request.method} {request.path}" == request_line
    assert json.loads(request.body or b"null") == body
    lines = capsys.readouterr().out.splitlines()
    assert [line[: len(start)] for line, start in zip(lines, printed, strict=True)] == printed
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize(
    "arguments, answer, value",
    [
        (["jobs"], {"jobs": [JOB], "next_before": None}, [JOB]),
        (["lanes"], {"lanes": {"bulk": LANE}}, {"bulk": LANE}),
        (["pause", "bulk"], LANE, {"bulk": LANE}),
        (["dead-letters"], {"dead_letters": [LETTER]}, [LETTER]),
        (["retry", "j:0:1:1"], JOB, {"j:0:1:1": "j1"}),
        (["workers"], {"workers": [WORKER]}, [WORKER]),
    ],
)
def test_with_json_an_action_prints_one_value(
    arguments: list[str], answer: Any, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with scripted_server(in_order(Answer(200, answer))) as server:
        assert run(server, *arguments, "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out) == value


def test_a_limit_below_one_is_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["operator", "jobs", "--limit", "-1"])
    assert ended.value.code == Exit.USAGE
    assert "argument --limit" in capsys.readouterr().err


def test_the_list_of_jobs_goes_on_to_the_next_page_up_to_its_limit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pages = [
        Answer(200, {"jobs": [JOB], "next_before": "1.0:j1"}),
        Answer(200, {"jobs": [JOB | {"id": "j2"}, JOB | {"id": "j3"}], "next_before": "x"}),
    ]
    with scripted_server(in_order(*pages)) as server:
        assert run(server, "jobs", "--limit", "2", "--json") == Exit.OK
    assert [each["id"] for each in json.loads(capsys.readouterr().out)] == ["j1", "j2"]
    assert "before=1.0%3Aj1" in server.requests[1].path


def test_drain_waits_until_the_lane_is_empty_or_the_time_is_over() -> None:
    empty = Answer(200, {"lanes": {"bulk": LANE | {"outstanding_parts": 0}}})
    full = Answer(200, {"lanes": {"bulk": LANE}})
    with scripted_server(in_order(Answer(200, LANE), empty)) as server:
        assert run(server, "drain", "bulk", "--wait", "60") == Exit.OK
    with scripted_server(in_order(Answer(200, LANE), full)) as server:
        assert run(server, "drain", "bulk", "--wait", "0") == Exit.NOT_FINISHED


def purges() -> list[Answer]:
    return [
        Answer(200, {"cancelled": 7, "more": True, "made_before": 5.0}),
        Answer(200, {"cancelled": 2, "more": False, "made_before": 5.0}),
    ]


def test_purge_goes_on_until_nothing_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted_server(in_order(*purges())) as server:
        assert run(server, "purge", "bulk", "--yes", "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out) == {"lane": "bulk", "cancelled": 9}
    assert [json.loads(each.body) for each in server.requests] == [{}, {"made_before": 5.0}]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("typed, status", [("bulk\n", Exit.OK), ("yes\n", Exit.USAGE)])
def test_purge_asks_for_the_name_of_the_lane(
    typed: str,
    status: Exit,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    answers = [Answer(200, {"lanes": {"bulk": LANE}}), *purges()]
    with scripted_server(in_order(*answers)) as server:
        assert run(server, "purge", "bulk") == status
    assert len(server.requests) == (3 if status is Exit.OK else 1)
    assert "100 pictures wait" in capsys.readouterr().err


def test_purge_does_not_guess_where_nobody_can_be_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("bulk\n"))
    with scripted_server(in_order(Answer(200, {"lanes": {"bulk": LANE}}))) as server:
        assert run(server, "purge", "bulk") == Exit.USAGE
    assert [each.method for each in server.requests] == ["GET"]


def test_a_key_without_the_scope_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    problem = {"code": "forbidden", "detail": "This API key may not make this call."}
    with scripted_server(in_order(Answer(403, problem))) as server:
        assert run(server, "lanes") == Exit.SERVICE
    assert "forbidden: This API key may not" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, answer",
    [
        (["jobs"], {"jobs": [JOB | {"counts": {"total": 3}}], "next_before": None}),
        (["jobs"], {"jobs": [JOB], "next_before": 5}),
        (["job", "j1"], JOB | {"created_at": "soon"}),
        (["cancel", "j1"], [JOB]),
        (["lanes"], {"lanes": {"bulk": LANE | {"since": 1e300}}}),
        (["pause", "bulk"], {"state": "paused"}),
        (["drain", "bulk"], LANE | {"outstanding_parts": "none"}),
        (["purge", "bulk", "--yes"], {"cancelled": 1}),
        (["purge", "bulk", "--yes"], {"cancelled": "1", "more": False, "made_before": 5.0}),
        (["dead-letters"], {"dead_letters": [LETTER | {"at": []}]}),
        (["retry", "j:0:1:1"], {"id": 5}),
        (["delete", "j:0:1:1"], {}),
        (["workers"], {"workers": [5]}),
    ],
)
def test_a_wrong_answer_names_the_address_without_its_password(
    arguments: list[str], answer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with scripted_server(in_order(Answer(200, answer))) as server:
        url = server.url.replace("//", "//me:secret@")
        assert main(["--url", url, "operator", *arguments]) == Exit.SERVICE
    [line] = capsys.readouterr().err.splitlines()
    assert f"{server.url} answers, but not as" in line and "secret" not in line


def test_a_lane_that_the_service_does_not_have_is_a_wrong_answer() -> None:
    without = Answer(200, {"lanes": {}})
    with scripted_server(in_order(Answer(200, LANE), without)) as server:
        assert run(server, "drain", "bulk", "--wait", "60") == Exit.SERVICE


def test_a_terminal_that_cannot_show_a_name_is_no_fault_of_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    jobs = Answer(200, {"jobs": [JOB | {"owner": "é"}], "next_before": None})
    with scripted_server(in_order(jobs)) as server, pytest.raises(UnicodeEncodeError):
        run(server, "jobs")
