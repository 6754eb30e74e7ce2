"""`/usage` says what a client has, and what it may have."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from tests.support.bodies import JPEG
from web.http.api_keys.keys import line, new_key
from web.submit import client_accounts

LIMITS = ("images=3", "bytes=1MB", "images-per-day=4")


def submit(client: FlaskClient, images: int, key: str = "") -> TestResponse:
    files = [(io.BytesIO(JPEG + b"%d" % k), "a.jpg") for k in range(images)]
    return client.post("/jobs", data={"files": files}, headers={"X-API-Key": key} if key else {})


def test_an_address_reads_its_own_usage(client: FlaskClient) -> None:
    assert submit(client, 2).status_code == 202
    usage = client.get("/api/v1/usage").json
    assert usage["client"] == "address 127.0.0.1"
    assert usage["outstanding_images"] == {"interactive": 0, "bulk": 2}
    assert usage["bytes_held"] == 2 * len(JPEG + b"0")
    assert usage["bytes_kept"] > 200
    assert usage["images_today"] == 2
    assert set(usage["limits"].values()) == {None}
    midnight = datetime.fromtimestamp(usage["day_ends_at"], timezone.utc)
    assert (midnight.hour, midnight.minute, midnight.second) == (0, 0, 0)
    other = client.get("/api/v1/usage", environ_base={"REMOTE_ADDR": "192.0.2.7"}).json
    assert other["images_today"] == 0


def test_the_limits_of_a_key_are_enforced_and_shown(
    make_app: Callable[..., OpenAPI], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_accounts, "_FRESH_FOR_REFUSAL_SECONDS", -1)
    alice, again, bob = new_key(), new_key(), new_key()
    path = tmp_path / "keys"
    lines = (line("alice", alice, *LIMITS), line("alice", again, *LIMITS), line("bob", bob))
    path.write_text("\n".join(lines))
    client = make_app(api_keys_file=path).test_client()

    assert submit(client, 3, alice).status_code == 202
    refusal = submit(client, 1, again)  # another key of the same client
    assert (refusal.status_code, refusal.json["code"]) == (429, "too_many_outstanding")
    assert "may have 3 pictures outstanding, and has 3" in refusal.json["detail"]
    usage = client.get("/api/v1/usage", headers={"X-API-Key": again}).json
    assert usage["client"] == "key alice" and usage["images_today"] == 3
    assert usage["limits"] == {"images": 3, "bytes": 2**20, "images_per_day": 4}

    job = client.get("/jobs", headers={"X-API-Key": alice}).json["jobs"][0]["id"]
    client.delete(f"/jobs/{job}", headers={"X-API-Key": alice})
    refusal = submit(client, 2, alice)
    assert (refusal.status_code, refusal.json["code"]) == (429, "daily_limit_reached")
    assert 0 < int(refusal.headers["Retry-After"]) <= 86_400
    assert submit(client, 1, alice).status_code == 202
    assert submit(client, 4, bob).status_code == 202
    assert client.get("/api/v1/usage").status_code == 401
