"""Decoding of one picture within limits, from bytes to a square of pixels."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.errors import ClassifierError
from workers.decode.limits import DecodeLimits
from workers.decode.preprocessing import Preset, decode


class Decoded(NamedTuple):
    #: RGB of shape (crop, crop, 3), or the error of a picture that cannot be decoded.
    pixels: NDArray[np.uint8] | ClassifierError
    milliseconds: float


class Decoder:
    """Decodes pictures for a model that wants them as `preset` says."""

    def __init__(self, preset: Preset, limits: DecodeLimits) -> None:
        self._preset = preset
        self._limits = limits

    def decode(self, data: bytes, *, cpu_seconds: float | None = None) -> Decoded:
        """Decode one picture. Works in the main thread only, because the limits use signals.

        `cpu_seconds` lowers the limit on processor time.
        """
        started = time.perf_counter()
        pixels: NDArray[np.uint8] | ClassifierError
        try:
            with self._limits.enforced(cpu_seconds):
                pixels = decode(data, self._preset, max_pixels=self._limits.pixels)
        except ClassifierError as error:
            # The frames of the traceback hold the decoded picture, which may be large.
            error.__traceback__ = error.__cause__ = error.__context__ = None
            pixels = error
        return Decoded(pixels, 1000 * (time.perf_counter() - started))
