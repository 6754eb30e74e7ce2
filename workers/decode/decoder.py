"""Pictures of a run, from bytes to squares of pixels; one that fails costs no neighbour."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.errors import ClassifierError
from workers.decode.limits import DecodeLimits
from workers.decode.preprocessing import Preset, decode


class Decoded(NamedTuple):
    pixels: (
        NDArray[np.uint8] | ClassifierError
    )  #: RGB of shape (crop, crop, 3), or why there are none.
    milliseconds: float


class Decoder(Protocol):
    def decode(self, pictures: Sequence[bytes]) -> list[Decoded]:
        """One answer for each picture, in their order. For the main thread."""


class PillowDecoder:
    """One picture after the other on the processor, each within limits."""

    def __init__(self, preset: Preset, limits: DecodeLimits) -> None:
        self._preset = preset
        self._limits = limits

    def decode(self, pictures: Sequence[bytes]) -> list[Decoded]:
        return [self._decode(each) for each in pictures]

    def _decode(self, data: bytes) -> Decoded:
        started = time.perf_counter()
        pixels: NDArray[np.uint8] | ClassifierError
        try:
            with self._limits.enforced():
                pixels = decode(data, self._preset, max_pixels=self._limits.pixels)
        except ClassifierError as error:
            # Its frames hold what was decoded, and would until the whole run is.
            error.__traceback__ = error.__cause__ = error.__context__ = None
            pixels = error
        return Decoded(pixels, 1000 * (time.perf_counter() - started))
