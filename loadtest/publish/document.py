"""What measurements write into the documents, between markers: no figure is typed by hand."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PERFORMANCE = ROOT / "docs/performance.md"
IMAGES = ROOT / "docs/images"


def fill(name: str, text: str, document: Path = PERFORMANCE) -> None:
    """Replace what stands between `<!-- name: ... -->` and `<!-- end of name -->`.

    Raises ValueError where the document has no such markers, or has them twice.
    """
    between = re.compile(rf"(<!-- {name}\b[^>]*-->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    before = document.read_text()
    after, places = between.subn(lambda found: f"{found[1]}{text}\n{found[2]}", before)
    if places != 1:
        raise ValueError(f"{document} has {places} places for {name}")
    document.write_text(after)
