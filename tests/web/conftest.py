"""The web application on a real Redis; no worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from redis import Redis

from shared.settings import Settings
from web.app import create_app
from web.service import Service


@pytest.fixture
def app(redis: Redis, redis_url: str) -> Iterator[OpenAPI]:
    app = create_app(Settings(redis_url=redis_url, log_format="text", max_image_bytes=300_000))
    service: Service = app.extensions["service"]
    service.commits.subscribed.wait(5)
    yield app
    service.close()


@pytest.fixture
def client(app: OpenAPI) -> FlaskClient:
    return app.test_client()
