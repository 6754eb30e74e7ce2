"""The images install exactly the files that requirements/locked/ names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.ship.images.dockerfile import FILES, ROOT, stages
from tests.ship.images.python import lines_of, normal

LOCKED = sorted((ROOT / "requirements/locked").glob("*.txt"))


def _pins(path: Path) -> dict[str, set[str]]:
    """The versions of each package; a lock may have several, for different machines."""
    pins: dict[str, set[str]] = {}
    for name, version in re.findall(r"(?m)^([\w.-]+)(?:\[[\w,]+\])?==([^\s;]+)", path.read_text()):
        pins.setdefault(normal(name), set()).add(version)
    return pins


@pytest.mark.parametrize("path", LOCKED, ids=lambda path: path.stem)
def test_a_lock_has_the_versions_that_are_tested(path: Path) -> None:
    """If this fails: requirements/lock writes them again."""
    wanted = {}
    for line in lines_of(ROOT / "requirements" / path.name):
        [(name, version)] = re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==(\S+)$", line)
        wanted[normal(name)] = {version}
    assert wanted.items() <= _pins(path).items(), "run: requirements/lock"


@pytest.mark.parametrize("path", LOCKED, ids=lambda path: path.stem)
def test_every_package_of_a_lock_has_digests(path: Path) -> None:
    blocks = re.split(r"(?m)^(?=\S)", path.read_text())[1:]
    assert blocks
    for block in blocks:
        assert re.match(r"[\w.-]+==\S+", block) and "--hash=sha256:" in block, block


def test_programs_that_share_packages_share_their_versions() -> None:
    """Web and workers speak Redis, and read each other's messages, with the same versions."""
    seen: dict[str, set[str]] = {}
    for path in LOCKED:
        for name, versions in _pins(path).items():
            if path.stem != "locust":
                assert seen.setdefault(name, versions) == versions, f"{path.stem}: {name}"


@pytest.mark.parametrize("file", FILES)
def test_only_torch_is_installed_without_digests(file: str) -> None:
    """Its index for CPUs has other files than the usual one."""
    for stage in stages(file).values():
        for line in stage.all("RUN"):
            for requirements in re.findall(r"-r /requirements/(\w+)\.txt", line):
                assert "--require-hashes" in line or requirements == "torch", requirements
