"""Gray pictures with more than 8 bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

#: 16 or 32 bits, or floats. `I;16` has the byte order of this machine.
DEEP_MODES = ("I;16", "I", "F")

#: 16 bits in a stated byte order. Pillow's `resize` ignores the order.
_ORDERED_MODES = ("I;16L", "I;16B", "I;16N")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Which values are black and white."""

    #: The value of white, if black is 0. None if the darkest and the brightest pixel are meant.
    white: int | None
    inverted: bool = False  #: White is the smallest value.


#: What PNG says of 16 bits, and what is assumed of 32.
USUAL_16, BY_RANGE = Scale(white=65_535), Scale(white=None)


def native(image: Image.Image) -> Image.Image:
    """The picture with 16 bits in the byte order of this machine."""
    if image.mode not in _ORDERED_MODES:
        return image
    return Image.fromarray(np.asarray(image).astype(np.uint16))


def shallow(square: Image.Image, scale: Scale) -> Image.Image:
    """The picture in 8 bits. Pillow's own conversion would clip it to white."""
    values = np.nan_to_num(np.asarray(square).astype(np.float64), posinf=0.0, neginf=0.0)
    if scale.white is None:
        values -= values.min()
        values *= 255 / (values.max() or 1.0)
    else:
        values *= 255 / scale.white
    values = np.clip(np.rint(values), 0, 255)
    return Image.fromarray((255 - values if scale.inverted else values).astype(np.uint8))


def with_key_as_alpha(image: Image.Image, key: int) -> Image.Image:
    """A picture of 16 bits in which one value is transparent, as gray and alpha of 8 bits."""
    values = np.asarray(image)
    alpha = np.where(values == key, 0, 255).astype(np.uint8)
    gray = (values >> 8).astype(np.uint8)
    return Image.merge("LA", [Image.fromarray(gray), Image.fromarray(alpha)])
