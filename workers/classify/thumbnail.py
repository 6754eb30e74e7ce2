"""A small JPEG of what the model sees."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.thumbnails import MOST_BYTES

_SIDE = 160

#: The first quality whose JPEG is small enough is used. The last one is small for every picture.
_QUALITIES = (75, 50, 25, 5)


def thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """A JPEG of at most MOST_BYTES. `pixels` has the shape (height, width, 3)."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((_SIDE, _SIDE))
    for quality in _QUALITIES:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        if file.tell() <= MOST_BYTES:
            break
    return file.getvalue()
