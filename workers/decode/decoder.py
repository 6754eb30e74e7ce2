"""Decoding of one picture within limits, from bytes to a square of pixels."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.errors import ClassifierError
from workers.decode import apart
from workers.decode.limits import DecodeLimits
from workers.decode.preprocessing import Preset, decode


class Decoded(NamedTuple):
    #: RGB of shape (crop, crop, 3), or the error of a picture that cannot be decoded.
    pixels: NDArray[np.uint8] | ClassifierError
    milliseconds: float
    slow: bool = False  #: Whether it took more processor time than a first try may take.
    cpu_seconds: float = 0.0


class Trial(NamedTuple):
    """Limits of a first try, which ends with DecodeTimeout if the picture is slow to decode."""

    cpu_seconds: float
    pixels: int  #: By the header. The try of a picture with more pixels ends before decoding.
    call_seconds: float = 0.0  #: For a picture that is decoded in a single call, if that is more.


class Decoder:
    """Decodes pictures for a model that wants them as `preset` says."""

    def __init__(self, preset: Preset, limits: DecodeLimits) -> None:
        self._preset = preset
        self._limits = limits

    def decode(
        self,
        data: bytes,
        *,
        trial: Trial | None = None,
        give_up: Callable[[], bool] | None = None,
        low_priority: bool = False,
    ) -> Decoded:
        """Decode one picture. Works in the main thread only, because the limits use signals.

        Raises GivenUp soon after `give_up` returns true. With `low_priority` it is decoded in a
        process of its own.
        """
        started, used = time.perf_counter(), _cpu_seconds()
        pixels: NDArray[np.uint8] | ClassifierError
        try:
            if apart.is_needed(data) or (low_priority and apart.is_possible()):
                most = (
                    max(trial.cpu_seconds, trial.call_seconds)
                    if trial
                    else self._limits.cpu_seconds
                )
                pixels = apart.run_apart(
                    lambda: self._pixels(data, trial, None),
                    cpu_seconds=most,
                    give_up=give_up,
                    low_priority=low_priority,
                )
            else:
                pixels = self._pixels(data, trial, give_up)
        except ClassifierError as error:
            pixels = error
        # A single call into C may go on after the end of its try.
        used = _cpu_seconds() - used
        slow = trial is not None and used > trial.cpu_seconds
        return Decoded(pixels, 1000 * (time.perf_counter() - started), slow, used)

    def _pixels(
        self, data: bytes, trial: Trial | None, give_up: Callable[[], bool] | None
    ) -> NDArray[np.uint8] | ClassifierError:
        """The pixels, or why there are none."""
        try:
            with self._limits.enforced(trial.cpu_seconds if trial else None, give_up):
                return decode(
                    data,
                    self._preset,
                    max_pixels=self._limits.pixels,
                    quick_pixels=trial.pixels if trial else math.inf,
                )
        except ClassifierError as error:
            # The frames of the traceback hold the decoded picture, which may be large.
            error.__traceback__ = error.__cause__ = error.__context__ = None
            return error


def _cpu_seconds() -> float:
    """Of this process, and of those that have decoded a picture apart and ended."""
    apart = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + apart.ru_utime + apart.ru_stime
