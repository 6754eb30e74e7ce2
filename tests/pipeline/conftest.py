"""An HTTP client of the whole service."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.local_service import LocalService


@pytest.fixture
def http(service: LocalService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.base_url, timeout=60) as client:
        yield client
