"""The commands that documents name exist: targets of make, Python modules, files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_links import documents

_ROOT = Path(__file__).parents[2]

#: `make target` at the start of a code span or of a line of code, perhaps after variables.
_MAKE = re.compile(r"(?:`|^(?: {4}|\$ ))(?:[A-Z_]+=\S* )*make ([a-z-]+)", re.MULTILINE)

_MODULE = re.compile(r"python3? -m ([\w.]+)|celery -A ([\w.]+)")

_OWN = ("shared", "web", "workers", "client", "quickstart", "training", "loadtest", "docs")


# The changelog also names commands of the past.
@pytest.mark.parametrize("document", sorted({*documents()} - {"CHANGELOG.md"}))
def test_every_command_that_is_named_exists(document: str) -> None:
    text = (_ROOT / document).read_text()
    targets = set(re.findall(r"^([a-z-]+):", (_ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(_MAKE.findall(text)) <= targets
    for module in {one or other for one, other in _MODULE.findall(text)}:
        if module.partition(".")[0] in _OWN:
            assert is_runnable(module), f"{document} names {module}"


def is_runnable(module: str) -> bool:
    path = _ROOT / module.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__main__.py").exists()


def test_a_missing_module_is_not_runnable() -> None:
    assert is_runnable("loadtest.bench") and is_runnable("training")
    assert not is_runnable("workers.export") and not is_runnable("shared")
