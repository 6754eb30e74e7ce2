"""The page in a real browser, with a real service."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from quickstart.ready import new_picture
from tests.support import machine
from tests.support.local_service import LocalService, local_service

#: Makes so many new pictures.
Noise = Callable[[int], list[Path]]
#: Opens a page, with options of Playwright's `new_context`.
NewPage = Callable[..., Page]

#: The console message of a browser after a refusal.
STATUS = "the server responded with a status of {}"

_ROOT = Path(__file__).parents[2]
_AXE = "axe-core-4.14.1"

#: The machine may be busy.
expect.set_options(timeout=20_000)


def missing(what: str) -> Any:
    """Skip the test; in continuous integration, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and this is continuous integration")
    pytest.skip(what)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, or the program that the environment variable CHROMIUM names.

    Of module scope: Playwright runs an event loop, and other tests need their own.
    """
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        missing("chromium is not installed; `apt-get install chromium`, or CHROMIUM=its path")
    with sync_playwright() as playwright:
        # No sandbox: tests run as root in containers.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser: Browser) -> Iterator[NewPage]:
    """Opens pages, each with its own storage. A script error or a broken policy fails the test.

    `refusals` are errors that the test provokes: resources that fail to load.
    """
    pages: list[tuple[Page, list[str]]] = []

    def new(*, refusals: tuple[str, ...] = (), **context: Any) -> Page:
        wide = {"viewport": {"width": 1200, "height": 800}}
        page = browser.new_context(**wide | context).new_page()
        errors: list[str] = []
        expected = tuple(f"Failed to load resource: {each}" for each in refusals)

        def note(text: str) -> None:
            if not any(each in text for each in expected):
                errors.append(text)

        page.on("pageerror", lambda error: note(f"{error}"))
        page.on(
            "console", lambda line: note(line.text) if line.type in ("error", "warning") else None
        )
        pages.append((page, errors))
        return page

    yield new
    for page, errors in pages:
        page.context.close()
        assert errors == []


@pytest.fixture(scope="session")
def idle_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service without workers, which accepts at most one interactive image."""
    folder = tmp_path_factory.mktemp("idle")
    own = {"WEB_PROCESSES": "1", "DATA_DIR": str(folder), "MAX_OUTSTANDING_INTERACTIVE": "1"}
    with local_service(folder, os.environ | own) as running:
        running.start_web()
        running.await_web()
        yield running


@pytest.fixture
def noise(tmp_path: Path) -> Noise:
    """Makes small pictures, none of which is cached."""

    def make(count: int) -> list[Path]:
        folder = tmp_path / f"noise-{count}"
        folder.mkdir()
        paths = [folder / f"noise {number:04}.png" for number in range(count)]
        for path in paths:
            path.write_bytes(new_picture())
        return paths

    return make


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, fetched once from the npm registry."""
    archive = _ROOT / ".cache" / f"{_AXE}.tgz"
    if not archive.exists():
        _fetch(archive.parent)
    with tarfile.open(archive) as package:
        file = package.extractfile("package/axe.min.js")
        assert file
        return file.read().decode()


def _fetch(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    name, _, version = _AXE.rpartition("-")
    command = ["npm", "pack", "--silent", "--pack-destination", str(folder), f"{name}@{version}"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60, env=machine.MACHINE)
    except (OSError, subprocess.SubprocessError):
        missing(f"{_AXE} cannot be fetched; `{' '.join(command)}` does it once")
