"""`GET /jobs`: the jobs of the client that asks."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from werkzeug.datastructures import FileStorage

from tests.support.bodies import JPEG


def submit(client: FlaskClient, **headers: str) -> str:
    files = {"files": FileStorage(io.BytesIO(JPEG), "a.jpg")}
    job_id: str = client.post("/jobs", data=files, headers=headers).json["id"]
    return job_id


def ids(client: FlaskClient, query: str = "", **headers: str) -> list[str]:
    return [job["id"] for job in client.get(f"/jobs{query}", headers=headers).json["jobs"]]


def test_jobs_are_listed_as_they_are_read(client: FlaskClient) -> None:
    first = submit(client)
    second = client.post("/jobs", json={"total": 3}).json["job"]["id"]
    listed = client.get("/api/v1/jobs").json
    assert [job["id"] for job in listed["jobs"]] == [second, first]
    assert listed["jobs"][0] == client.get(f"/jobs/{second}").json
    assert listed["next_before"] is None


def test_pages_lead_to_each_other(client: FlaskClient) -> None:
    made = [submit(client) for _ in range(3)][::-1]
    page = client.get("/jobs?limit=2").json
    assert [job["id"] for job in page["jobs"]] == made[:2]
    assert ids(client, f"?limit=2&before={page['next_before']}") == made[2:]


def test_single_pictures_of_classify_are_not_listed(client: FlaskClient) -> None:
    answer = client.post("/api/v1/classify?wait=0", data=JPEG)
    assert client.get(f"/jobs/{answer.json['id']}").status_code == 200
    key = {"Idempotency-Key": "a"}
    client.post("/api/v1/classify?wait=0", data=JPEG, headers=key)
    assert ids(client) == []


def test_a_key_lists_its_own_jobs_only(make_app: Callable[..., OpenAPI], tmp_path: Path) -> None:
    file = tmp_path / "keys"
    names = {"alice": "imgc_a", "bob": "imgc_b"}
    digests = [f"{each}:{hashlib.sha256(key.encode()).hexdigest()}" for each, key in names.items()]
    file.write_text("\n".join(digests))
    client = make_app(api_keys_file=file).test_client()
    alice, bob = ({"X-API-Key": key} for key in names.values())
    hers, his = submit(client, **alice), submit(client, **bob)
    assert (ids(client, **alice), ids(client, **bob)) == ([hers], [his])
    assert client.get(f"/jobs?before={his}", headers=alice).status_code == 422
    assert client.get("/jobs").status_code == 401


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=a", "page=2"])
def test_a_wrong_option_is_refused(client: FlaskClient, query: str) -> None:
    assert client.get(f"/jobs?{query}").status_code == 422


@pytest.mark.parametrize("path", ["/jobs", "/api/v1/dead-letters"])
def test_without_keys_clients_elsewhere_may_list_nothing(client: FlaskClient, path: str) -> None:
    """An id is all that is needed to read a job, so it is not given to everybody."""
    submit(client)
    assert client.get(path).status_code == 200
    elsewhere = client.get(path, environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert (elsewhere.status_code, elsewhere.json["code"]) == (403, "listing_needs_key")
