"""The web application on a real Redis, without a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from redis import Redis

from shared.settings import Settings
from tests.support.servers import redis_users
from web.app import create_app
from web.routes.backend import Backend


@pytest.fixture
def make_app(redis: Redis, redis_url: str) -> Iterator[Callable[..., OpenAPI]]:
    """A function that makes applications with given settings. Each has the rights of `web`."""
    backends: list[Backend] = []
    url = redis_users.address(redis_url, "web")
    redis.acl_log_reset()

    def make(**settings: Any) -> OpenAPI:
        defaults = {"redis_url": url, "log_format": "text", "max_image_bytes": 300_000}
        app = create_app(Settings(**defaults | settings))
        backend: Backend = app.extensions["backend"]
        backends.append(backend)
        backend.commits.subscribed.wait(5)
        return app

    yield make
    for backend in backends:
        backend.close()
    assert not redis_users.refusals(redis)


@pytest.fixture
def app(make_app: Callable[..., OpenAPI]) -> OpenAPI:
    return make_app()


@pytest.fixture
def client(app: OpenAPI) -> FlaskClient:
    return app.test_client()
