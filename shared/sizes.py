"""Sizes and counts as people read them. What is too large never looks equal to what is allowed."""

from __future__ import annotations

import math

_UNITS = ((2**20, "MB"), (2**10, "KB"), (1, "bytes"))


def too_large(size: int, most: int, setting: str = "") -> str:
    """`20.1 MB; 20 MB are allowed (MAX_IMAGE_BYTES)`."""
    source = f" ({setting})" if setting else ""
    return f"{_above(size)}; {allowed(most)} are allowed{source}"


def allowed(size: int) -> str:
    """A limit: `64 MB`."""
    unit, name = _unit(size)
    return f"{math.floor(10 * size / unit) / 10:g} {name}"


def too_many_pixels(width: int, height: int, most: int, setting: str) -> str:
    """`60.3 megapixels (9504 x 6336); 50 are allowed (MAX_IMAGE_PIXELS)`."""
    pixels = math.ceil(width * height / 1e5) / 10
    return f"{pixels:g} megapixels ({width} x {height}); {most / 1e6:g} are allowed ({setting})"


def count_text(number: int, one: str) -> str:
    """`1 file`, or `2,000 files`."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def _above(size: int) -> str:
    unit, name = _unit(size)
    return f"{math.ceil(10 * size / unit) / 10:g} {name}"


def _unit(size: int) -> tuple[int, str]:
    return next((unit, name) for unit, name in _UNITS if size >= unit or unit == 1)
