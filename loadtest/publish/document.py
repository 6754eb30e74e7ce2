"""Writes measured figures into the documents, between markers."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PERFORMANCE = ROOT / "docs/performance.md"
IMAGES = ROOT / "docs/images"


def fill(name: str, text: str, document: Path = PERFORMANCE) -> None:
    """Replace the text between `<!-- name: ... -->` and `<!-- end of name -->`.

    Raises ValueError where the document has no such markers, or has them more than once.
    """
    between = re.compile(rf"(<!-- {name}:[^>]*-->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    before = document.read_text()
    after, places = between.subn(lambda marks: f"{marks[1]}{text}\n{marks[2]}", before)
    if places != 1:
        raise ValueError(f"{document} has {places} places for {name}")
    document.write_text(after)
