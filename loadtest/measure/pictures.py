"""The pictures of a measurement."""

from __future__ import annotations

from pathlib import Path

#: The sets of pictures that measurements use: the pictures of a folder, and photos made of them.
SMALL, PHOTOS = "pictures", "photos"

#: Their names in tables.
TITLES = {SMALL: "pictures", PHOTOS: "photos of 12 MP"}


def read_sets(folder: Path, only: str | None = None) -> dict[str, list[bytes]]:
    """Both sets by name, or the one with the name `only`."""
    from loadtest.measure.photos import photos  # The image of the load test has no Pillow.

    read = {SMALL: read_pictures, PHOTOS: photos}
    return {name: read[name](folder) for name in read if only in (None, name)}


def read_pictures(folder: Path) -> list[bytes]:
    """Every JPEG of a folder, in the order of their names."""
    pictures = [path.read_bytes() for path in sorted(folder.glob("*.[jJ][pP]*[gG]"))]
    if not pictures:
        raise SystemExit(f"There are no JPEG pictures in {folder}.")
    return pictures
