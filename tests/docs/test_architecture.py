"""Rules about the source files that an import contract cannot express."""

from __future__ import annotations

import ast
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


def test_requests_to_services_of_this_machine_take_nothing_from_the_environment() -> None:
    """HTTP_PROXY and SSL_CERT_FILE are for other machines, and httpx would use them for all."""
    folders = [_ROOT / "quickstart", _ROOT / "loadtest", _ROOT / "tests" / "support"]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    requests = [call for path in files for call in _httpx_calls(path.read_text())]
    assert len(requests) > 10
    assert not [call for call in requests if "trust_env=False" not in call]


def test_there_is_no_drawer_for_leftovers() -> None:
    names = {path.stem for path in sources()}
    assert not names & {"utils", "util", "helpers", "common", "misc"}


def _httpx_calls(source: str) -> list[str]:
    """The source of each call that makes a client or sends a request."""
    calls = [each for each in ast.walk(ast.parse(source)) if isinstance(each, ast.Call)]
    texts = [ast.unparse(each) for each in calls]
    return [
        text for text in texts if re.match(r"httpx\.(Client|get|post|put|delete|stream)\(", text)
    ]
