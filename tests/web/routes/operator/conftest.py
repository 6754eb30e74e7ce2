"""A service with the key of an operator and the keys of two clients."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from web.http.api_keys import line, new_key

JPEG = b"\xff\xd8\xff\xe0 not a whole picture"
KEYS = {name: new_key() for name in ("root", "alice", "bob")}


class Caller:
    """A client with the key of one name."""

    def __init__(self, client: FlaskClient, name: str) -> None:
        self.client = client
        self._headers = {"Authorization": f"Bearer {KEYS[name]}"}

    def __call__(self, method: str, path: str, **request: Any) -> TestResponse:
        headers = self._headers | request.pop("headers", {})
        return self.client.open(f"/api/v1{path}", method=method, headers=headers, **request)

    def submit(self, pictures: int = 1, lane: str = "bulk") -> str:
        """Submit a job; returns its id."""
        files = [(JPEG + bytes([k]), f"{k}.jpg") for k in range(pictures)]
        data = {"files": [(BytesIO(body), name) for body, name in files]}
        response = self("POST", f"/jobs?lane={lane}", data=data)
        assert response.status_code == 202, response.json
        return str(response.json["id"])


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    scopes = {"root": ["scopes=operate"]}
    lines = [line(name, key, *scopes.get(name, [])) for name, key in KEYS.items()]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def as_key(make_app: Callable[..., Any], keys_file: Path) -> Callable[[str], Caller]:
    client = make_app(api_keys_file=keys_file).test_client()
    return lambda name: Caller(client, name)


@pytest.fixture
def root(as_key: Callable[[str], Caller]) -> Caller:
    return as_key("root")


@pytest.fixture
def alice(as_key: Callable[[str], Caller]) -> Caller:
    return as_key("alice")


@pytest.fixture
def bob(as_key: Callable[[str], Caller]) -> Caller:
    return as_key("bob")
