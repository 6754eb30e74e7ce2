"""One version in every place, and the script that makes a release."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from client.version import __version__
from shared.version import VERSION

ROOT = Path(__file__).parents[2]

#: An image of ours with its version, in Compose and in commands; or the tag of one in an overlay.
IMAGE = re.compile(r"image-classifier/[a-z-]+:(\d[\w.]*)|newTag: ([\w.]+)")

#: Files that name the version. The test looks for others, too.
PLACES = {
    "client/version.py",
    "shared/version.py",
    "docker-compose.yml",
    "docs/deploy.md",
    "k8s/overlays/local/kustomization.yaml",
    "k8s/site/kustomization.yaml",
}


def tracked(*patterns: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, check=False, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("this is no git checkout")
    return listed.stdout.split()


def test_every_place_names_the_same_version() -> None:
    assert __version__ == VERSION
    named = {}
    for name in tracked("*.yml", "*.yaml", "*.md", "*.toml"):
        for match in IMAGE.finditer((ROOT / name).read_text()):
            named.setdefault(name, set()).add(match[1] or match[2])
    assert named.keys() == PLACES - {"client/version.py", "shared/version.py"}
    assert {version for versions in named.values() for version in versions} == {VERSION}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with the files that a release changes."""
    for name in [*PLACES, ".ci/release", "CHANGELOG.md"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    git(tmp_path, "init", "-q")
    git(tmp_path, "config", "user.name", "Test")
    git(tmp_path, "config", "user.email", "test@example.com")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "All")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout


def release(folder: Path, version: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [folder / ".ci/release", version], cwd="/", check=False, capture_output=True, text=True
    )


def test_a_release_changes_every_place_and_is_tagged(checkout: Path) -> None:
    done = release(checkout, "7.8.9")
    assert done.returncode == 0, done.stderr
    assert git(checkout, "describe") == "v7.8.9\n" and not git(checkout, "status", "--porcelain")
    changed = git(checkout, "diff", "--name-only", "HEAD~").split()
    assert set(changed) == PLACES | {"CHANGELOG.md"}
    for name in PLACES:
        text = (checkout / name).read_text()
        assert "7.8.9" in text and VERSION not in text, name
    headings = re.findall("^## .*", (checkout / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "## Unreleased" and headings[1].startswith("## 7.8.9, 2")


@pytest.mark.parametrize(
    ("version", "words"),
    [("v7", "three numbers"), ("7.8.9", "commit or stash"), ("7.8.9", "no change")],
)
def test_a_release_that_is_not_ready_changes_nothing(
    checkout: Path, version: str, words: str
) -> None:
    if words == "commit or stash":
        (checkout / "docs/new.md").write_text("new")
    if words == "no change":
        (checkout / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n## 0.1.0\n- All\n")
        git(checkout, "commit", "-qam", "No change")
    before = git(checkout, "rev-parse", "HEAD")
    refused = release(checkout, version)
    assert refused.returncode and words in refused.stderr
    assert git(checkout, "rev-parse", "HEAD") == before and not git(checkout, "tag")
