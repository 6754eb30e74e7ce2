"""Rules about the source files that an import contract cannot express."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PACKAGES = ("shared", "web", "workers", "client", "quickstart")


def sources() -> list[Path]:
    """All Python files, without the copy that `pip install ./client` makes."""
    paths = [path for package in _PACKAGES for path in (_ROOT / package).rglob("*.py")]
    return [path for path in paths if not path.is_relative_to(_ROOT / "client" / "build")]


def test_the_logging_folder_holds_no_python() -> None:
    assert (_ROOT / "logging").is_dir()
    assert not list((_ROOT / "logging").rglob("*.py"))


def test_the_environment_is_read_in_one_place_of_the_service_and_one_of_the_client() -> None:
    # `{**os.environ}` gives the environment to a child process and reads no value of it.
    reads = re.compile(r"(?<!\*\*)os\.environ|os\.getenv|from os import .*environ")
    readers = {str(path.relative_to(_ROOT)) for path in sources() if reads.search(path.read_text())}
    assert readers <= {"shared/settings/__init__.py", "client/api/settings.py"}


def test_there_is_no_drawer_for_leftovers() -> None:
    names = {path.stem for path in sources()}
    assert not names & {"utils", "util", "helpers", "common", "misc"}
