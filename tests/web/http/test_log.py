"""Log lines as JSON."""

from __future__ import annotations

import json

import pytest
from redis import Redis

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
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [line] = [each for each in lines if each["message"] == "request"]
    assert line["http"]["request"] == {"id": "r-1", "method": "POST"}
    assert line["http"]["response"]["status_code"] == 202
    assert line["job"]["id"] == job_id
    assert line["url"]["path"] == "/api/v1/classify"
    assert "secret" not in json.dumps(lines)
