"""API keys come from a file, and only its own key can see a job."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from redis import Redis
from werkzeug.test import TestResponse

from web.http import auth
from web.http.api_keys import line, new_key

JPEG = b"\xff\xd8\xff\xe0 not a whole picture"
ALICE, BOB = new_key(), new_key()


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(
        f"# the keys of a test\n\n{line('alice', ALICE)}  # until May\n{line('bob', BOB)}\n"
    )
    return path


@pytest.fixture
def guarded(make_app: Callable[..., OpenAPI], keys_file: Path) -> OpenAPI:
    return make_app(api_keys_file=keys_file)


@pytest.fixture
def client(guarded: OpenAPI) -> FlaskClient:
    return guarded.test_client()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def submit(client: FlaskClient, headers: dict[str, str]) -> TestResponse:
    return client.post("/api/v1/classify?wait=0", data=JPEG, headers=headers)


@pytest.mark.parametrize("headers", [bearer(ALICE), {"X-API-Key": ALICE}])
def test_a_key_is_taken_from_either_header(client: FlaskClient, headers: dict[str, str]) -> None:
    assert submit(client, headers).status_code == 202


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("wrong"),
        bearer(ALICE + "x"),
        bearer(ALICE[:-1]),
        {"X-API-Key": "\xff\xfe"},
        {"Authorization": f"Basic {ALICE}"},
        {"Authorization": "Bearer"},
    ],
)
def test_a_request_without_a_valid_key_is_refused(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    response = submit(client, headers)
    assert (response.status_code, response.json["code"]) == (401, "not_authenticated")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_client_without_a_key_does_not_learn_that_a_lane_is_full(
    make_app: Callable[..., OpenAPI], keys_file: Path
) -> None:
    full = make_app(api_keys_file=keys_file, max_outstanding_interactive=1).test_client()
    assert submit(full, bearer(ALICE)).status_code == 202
    for headers, status in ((bearer(ALICE), 503), (bearer("wrong"), 401), ({}, 401)):
        assert submit(full, headers).status_code == status


def test_a_hash_is_not_accepted_as_a_key(client: FlaskClient) -> None:
    assert submit(client, bearer(line("alice", ALICE).partition(":")[2])).status_code == 401


@pytest.mark.parametrize(
    "field, status, code",
    [
        ("expires=2001-01-31", 401, "api_key_expired"),
        ("scopes=operate", 403, "forbidden"),
        ("expires=2999-12-31", 202, None),
        ("scopes=classify,operate", 202, None),
    ],
)
def test_a_key_works_until_its_last_day_and_in_its_scopes(
    client: FlaskClient, keys_file: Path, field: str, status: int, code: str | None
) -> None:
    keys_file.write_text(line("alice", ALICE, field) + "\n")
    response = submit(client, bearer(ALICE))
    assert (response.status_code, response.json.get("code")) == (status, code)
    assert ("WWW-Authenticate" in response.headers) == (status == 401)
    # A call without a body is not asked for its key before Flask.
    assert client.get("/api/v1/model/info", headers=bearer(ALICE)).json.get("code") in (
        code,
        "model_not_ready",
    )


def test_a_key_that_may_not_submit_is_refused_before_a_full_lane_is_named(
    make_app: Callable[..., OpenAPI], keys_file: Path
) -> None:
    keys_file.write_text(f"{line('alice', ALICE)}\n{line('bob', BOB, 'scopes=operate')}\n")
    full = make_app(api_keys_file=keys_file, max_outstanding_interactive=1).test_client()
    assert submit(full, bearer(ALICE)).status_code == 202
    assert [submit(full, bearer(key)).status_code for key in (ALICE, BOB)] == [503, 403]


def test_only_the_named_calls_are_open(guarded: OpenAPI, client: FlaskClient) -> None:
    answered = set()
    for rule in guarded.url_map.iter_rules():
        path = rule.rule.replace("<job_id>", "x").replace("<path:filename>", "x")
        methods = rule.methods or ()
        method = next(each for each in ("GET", "POST", "PUT", "DELETE") if each in methods)
        if client.open(path, method=method).status_code != 401:
            answered.add(rule.endpoint)
    assert auth.OPEN <= answered
    assert not [each for each in answered if each.partition(".")[0] in ("classify", "jobs", "root")]
    assert "model.info" not in answered


def test_only_its_own_key_can_see_a_job(client: FlaskClient) -> None:
    path = submit(client, bearer(ALICE)).headers["Location"]
    for address in (path, path.removeprefix("/api/v1"), f"{path}/results"):
        assert client.get(address, headers=bearer(ALICE)).status_code == 200
        response = client.get(address, headers=bearer(BOB))
        assert (response.status_code, response.json["code"]) == (404, "job_not_found")


def test_the_job_of_another_key_looks_like_a_job_that_does_not_exist(client: FlaskClient) -> None:
    path = submit(client, bearer(ALICE)).headers["Location"]
    others, none = (
        client.get(address, headers=bearer(BOB)).json for address in (path, "/jobs/nothing")
    )
    assert others == none


def test_jobs_of_a_key_stay_closed_when_keys_are_turned_off(
    client: FlaskClient, make_app: Callable[..., OpenAPI]
) -> None:
    path = submit(client, bearer(ALICE)).headers["Location"]
    assert make_app().test_client().get(path).status_code == 404


def test_a_key_is_replaced_by_changing_the_file(client: FlaskClient, keys_file: Path) -> None:
    path = submit(client, bearer(ALICE)).headers["Location"]
    new = new_key()
    both = f"{line('alice', ALICE)}\n{line('alice', new)}\n"
    keys_file.write_text(both)
    assert client.get(path, headers=bearer(new)).status_code == 200
    assert client.get(path, headers=bearer(ALICE)).status_code == 200
    assert submit(client, bearer(BOB)).status_code == 401

    replacement = keys_file.with_name("next")
    replacement.write_text(f"{line('alice', new)}\n")
    os.replace(replacement, keys_file)
    assert client.get(path, headers=bearer(new)).status_code == 200
    assert client.get(path, headers=bearer(ALICE)).status_code == 401


def test_keys_stay_valid_while_the_file_is_malformed_or_missing_and_the_log_says_so(
    client: FlaskClient, keys_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys_file.write_text("alice:oops\n")
    assert submit(client, bearer(ALICE)).status_code == 202
    keys_file.unlink()
    assert submit(client, bearer(ALICE)).status_code == 202
    assert sum("the old ones stay" in record.message for record in caplog.records) >= 2
    assert "oops" not in caplog.text


def test_keys_are_never_logged(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        submit(client, bearer(ALICE)).close()
        submit(client, bearer("wrong-" + ALICE)).close()
    assert caplog.records
    assert ALICE not in caplog.text
    assert not [record for record in caplog.records if ALICE in str(vars(record))]


def test_no_key_is_needed_if_there_is_no_file(
    make_app: Callable[..., OpenAPI], redis: Redis
) -> None:
    client = make_app().test_client()
    assert submit(client, {}).status_code == 202
    assert "security" not in client.get("/openapi.json").json


def test_the_openapi_document_says_how_to_use_a_key(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    assert document["security"] == [{"bearer": []}, {"api_key": []}]
    schemes = document["components"]["securitySchemes"]
    assert schemes["bearer"]["scheme"] == "bearer"
    assert schemes["api_key"]["name"] == "X-API-Key"
