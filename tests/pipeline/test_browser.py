"""The documentation of the API in a browser."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support.local_service import LocalService

#: Tests run as root in containers, where Chromium needs --no-sandbox. The other options keep it
#: from sending requests of its own.
_OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--virtual-time-budget=10000 --dump-dom"
).split()


@pytest.mark.parametrize("page", ["docs", "redoc"])
def test_a_browser_shows_the_calls(service: LocalService, tmp_path: Path, page: str) -> None:
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if browser is None:
        assert not os.environ.get("CI"), "continuous integration installs chromium"
        pytest.skip("chromium is not installed; `apt-get install chromium`, or CHROMIUM=its path")
    shown = subprocess.run(
        [browser, *_OPTIONS, f"--user-data-dir={tmp_path}", f"{service.base_url}/{page}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    document = httpx.get(f"{service.base_url}/openapi.json").json()
    assert document["paths"]["/api/v1/classify"]["post"]["summary"] in shown
    assert "/api/v1/jobs/{job_id}" in shown
