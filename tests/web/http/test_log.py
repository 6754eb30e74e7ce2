"""Log lines, for programs and for people."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis import Redis

from shared.observe import log
from shared.settings import Settings
from web.app import create_app
from web.routes.backend import Backend


def test_a_request_is_one_json_line_with_its_ids(
    redis: Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app = create_app(Settings(redis_url=redis_url, log_format="json"))
    service: Backend = app.extensions["backend"]
    try:
        headers = {"X-Request-Id": "r-1"}
        answer = app.test_client().post(
            "/api/v1/classify?wait=0", data=b"\xff\xd8\xff secret", headers=headers
        )
        job_id = answer.json["id"]
        answer.close()
    finally:
        service.close()
    logged = [json.loads(line) for line in lines(capsys)]
    [line] = [each for each in logged if each["message"] == "request"]
    assert line["http"]["request"] == {"id": "r-1", "method": "POST"}
    assert line["http"]["response"]["status_code"] == 202
    assert line["job"]["id"] == job_id
    assert line["url"]["path"] == "/api/v1/classify"
    assert "secret" not in json.dumps(logged)


def test_a_long_path_is_logged_in_part(
    redis: Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app = create_app(Settings(redis_url=redis_url, log_format="json"))
    service: Backend = app.extensions["backend"]
    try:
        app.test_client().get(f"/jobs/{'long' * 1000}").close()
    finally:
        service.close()
    [line] = [json.loads(line) for line in lines(capsys) if "longlong" in line]
    assert line["url"]["path"] == f"/jobs/{'long' * 1000}"[:256]


#: Text that a client chooses: line ends, terminal sequences, and letters that run backwards.
HOSTILE = "a\n12:00:00 CRITICAL forged\r\x1b[31mred\x1b]0;title\x07\x9b2J\u2028\u202egpj.exe \udce9"
ESCAPED = (
    r"a\n12:00:00 CRITICAL forged\r\x1b[31mred\x1b]0;title\x07\x9b2J\u2028\u202egpj.exe \udce9"
)


@contextmanager
def text_log() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    log.configure(Settings(log_format="text"), "test")
    before = log.fields.set({})
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        log.fields.reset(before)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was logged; only a line feed ends a line."""
    return capsys.readouterr().out.split("\n")[:-1]


def test_a_path_cannot_forge_a_line_of_the_text_log(
    redis: Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app = create_app(Settings(redis_url=redis_url, log_format="text"))
    service: Backend = app.extensions["backend"]
    try:
        path = "/jobs/%0A12:00:00%20CRITICAL%20forged%0D%1b%5b31mRED%1b%5d0;title%07%e2%80%ae"
        app.test_client().get(path).close()
    finally:
        service.close()
    [line] = [each for each in lines(capsys) if "forged" in each]
    assert " INFO web.http.requests request in " in line
    assert r'"/jobs/\n12:00:00 CRITICAL forged\r\x1b[31mRED\x1b]0;title\x07\u202e"' in line


def test_a_message_and_its_fields_are_one_escaped_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = {"file.name": HOSTILE, "job.id": [HOSTILE, "b"]}
    with text_log():
        logging.getLogger("some.module").warning("read %s", HOSTILE, extra=more)
    [line] = lines(capsys)
    assert line[8:] == (
        f' WARNING some.module read {ESCAPED}  file.name="{ESCAPED}" job.id="{ESCAPED}+1"'
    )


def test_a_traceback_keeps_its_lines_and_none_of_them_looks_like_a_record(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with text_log():
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            logging.getLogger("some.module").exception("failed", stack_info=True)
    first, *others = lines(capsys)
    assert first[8:] == " ERROR some.module failed"
    assert others[0] == "  Traceback (most recent call last):"
    assert "  ValueError: a" in others and "  Stack (most recent call last):" in others
    assert all(each.startswith("  ") for each in others)
    assert not [each for each in "".join(others) if not each.isprintable()]


def test_the_lines_of_gunicorn_are_escaped_too(capsys: pytest.CaptureFixture[str]) -> None:
    with text_log():
        logging.getLogger("gunicorn.error").warning("Invalid request: %s", HOSTILE)
    [line] = lines(capsys)
    assert line.endswith(f" WARNING gunicorn.error Invalid request: {ESCAPED}")
