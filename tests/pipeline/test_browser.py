"""The documentation, as a browser shows it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.local_service import LocalService

#: No sandbox: tests run as root in containers. The rest keeps it from calling home.
_OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--virtual-time-budget=10000 --dump-dom"
).split()


@pytest.mark.parametrize("page", ["docs", "redoc"])
def test_a_browser_shows_the_calls(service: LocalService, tmp_path: Path, page: str) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed, and this is continuous integration")
        pytest.skip("chromium is not installed")
    shown = subprocess.run(
        [browser, *_OPTIONS, f"--user-data-dir={tmp_path}", f"{service.base_url}/{page}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert "Classify one picture and wait for the labels." in shown
    assert "/api/v1/jobs/{job_id}" in shown
