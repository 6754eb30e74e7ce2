"""An HTTP client of the whole service, and nginx in front of it."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import httpx
import pytest

from tests.support.local_service import LocalService
from tests.support.nginx import running_nginx

#: Starts an nginx before the web replicas at these ports; gives its URL.
StartNginx = Callable[[Sequence[int]], AbstractContextManager[str]]


@pytest.fixture
def http(service: LocalService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.base_url, timeout=60) as client:
        yield client


@pytest.fixture
def many_sockets() -> Iterator[None]:
    """Allows more open files than the 1,024 of a shell."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def start_nginx(tmp_path_factory: pytest.TempPathFactory) -> StartNginx:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        assert not os.environ.get("CI"), "continuous integration installs nginx"
        pytest.skip("nginx is not installed")
    return lambda ports: running_nginx(program, tmp_path_factory.mktemp("nginx"), ports)
