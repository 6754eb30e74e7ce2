"""Links and paths in the documents lead to something that exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_CODE_SPAN = re.compile(r"`[^`\n]+`")

#: A path of the repository in a code span: a folder, a file in one, or a document at the top.
_PATH = re.compile(r"`((?:[\w.-]+/)+(?:[\w.-]+\.\w+)?|[A-Z][\w]+\.md)`")

#: These look like paths of the repository, but a reader has them or a program makes them.
_ELSEWHERE = re.compile(r"data/|secrets/|models/|application/|image/|text/|image-classifier/")


def documents() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True)
    return sorted(listed.stdout.split())


@pytest.mark.parametrize("document", documents())
def test_every_relative_link_resolves(document: str) -> None:
    for link in links(_ROOT / document):
        path, _, anchor = link.partition("#")
        target = (_ROOT / document).parent / path if path else _ROOT / document
        assert target.exists(), f"{document} links to {link}, which does not exist"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{document} links to {link}: no such heading"


def links(document: Path) -> list[str]:
    text = _CODE_SPAN.sub("", _FENCE.sub("", document.read_text()))
    targets = (one or other for one, other in _LINK.findall(text))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    text = _FENCE.sub("", document.read_text())
    headings = re.findall(r"^#+ +(.+?)\s*$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings} | set(
        re.findall(r"(?:id|name)=\"([^\"]+)\"", text)
    )


@pytest.mark.parametrize("document", documents())
def test_every_file_that_is_named_exists(document: str) -> None:
    text = _FENCE.sub("", (_ROOT / document).read_text())
    missing = [path for path in _PATH.findall(text) if not is_there(path, _ROOT / document)]
    assert not missing, f"{document} names {missing}"


def is_there(path: str, document: Path) -> bool:
    """Whether a path exists in the repository or beside the document."""
    if _ELSEWHERE.match(path):
        return True
    return (_ROOT / path).exists() or (document.parent / path).exists()
