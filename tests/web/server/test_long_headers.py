"""Long headers are not read, because that would delay other clients."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from web.server.long_headers import LongHeaders

SPLIT = ["HTTP_ACCEPT", "HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH", "HTTP_AUTHORIZATION"]
SPLIT += ["HTTP_CONNECTION", "HTTP_RANGE", "CONTENT_TYPE"]


def passed_on(environ: dict[str, Any]) -> dict[str, Any]:
    """What the application gets."""
    got: list[dict[str, Any]] = []
    LongHeaders(lambda environ, _: got.append(environ) or [])(environ, lambda *_: lambda _: None)
    return got[0]


@pytest.mark.parametrize("name", SPLIT)
def test_only_a_long_header_is_dropped(name: str) -> None:
    other = {"HTTP_COOKIE": "a" * 8000}
    short = {name: "a" * 512} | other
    assert passed_on(dict(short)) == short
    assert passed_on({name: "a" * 513} | other) == other


def test_a_long_header_accept_counts_as_none(client: FlaskClient) -> None:
    header = {"Accept": "text/html," * 100}
    answer = client.get("/no/such/page", headers=header)
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")
    opened = client.post("/jobs", json={"total": 1}).get_json()
    answer = client.get(f"/jobs/{opened['job']['id']}/results", headers=header)
    assert (answer.status_code, answer.mimetype) == (200, "application/json")


@pytest.mark.parametrize(("name", "status"), [("If-None-Match", 304), ("If-Match", 412)])
def test_a_long_list_of_tags_counts_as_none(client: FlaskClient, name: str, status: int) -> None:
    with client.get("/page/main.js") as page:
        tag = page.headers["ETag"] if status == 304 else '"another"'
    for count, expected in ((2, status), (200, 200)):
        with client.get("/page/main.js", headers={name: f"{tag}," * count}) as answer:
            assert answer.status_code == expected
