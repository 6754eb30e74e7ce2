"""The pictures of a measurement."""

from __future__ import annotations

from pathlib import Path


def read_pictures(folder: Path) -> list[bytes]:
    """Every JPEG of a folder, in the order of their names."""
    pictures = [path.read_bytes() for path in sorted(folder.glob("*.[jJ][pP]*[gG]"))]
    if not pictures:
        raise SystemExit(f"There are no JPEG pictures in {folder}.")
    return pictures
