"""The limit: a bare loop that decodes and classifies, one process per core, no service around it.

What a service achieves is told as a share of this, measured in the same minute: machines differ,
and a shared one differs from minute to minute.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np

from shared.settings import Settings
from workers.engine import load_engine
from workers.preprocessing import decode

#: The CPU engine's best; larger batches are no faster.
_BATCH = 8


def measure_limit(
    pictures: Sequence[bytes], *, images: int, processes: int, settings: Settings
) -> float:
    """Images per second of `processes` bare loops that share `images` between them."""
    # Not a fork of this process: an engine and its threads must not be inherited.
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes + 1)
    share = images // processes
    loops = [
        context.Process(target=_loop, args=(list(pictures), share, settings, barrier))
        for _ in range(processes)
    ]
    for loop in loops:
        loop.start()
    barrier.wait()
    started = time.perf_counter()
    for loop in loops:
        loop.join()
    return share * processes / (time.perf_counter() - started)


def _loop(pictures: list[bytes], images: int, settings: Settings, barrier: Barrier) -> None:
    engine = load_engine(settings)
    pixels = [_decode(data, engine.model.preset, settings) for data in pictures[:_BATCH]]
    engine.predict(np.stack(pixels))  # the first run allocates
    barrier.wait()
    for batch in _batches(islice(cycle(pictures), images)):
        engine.predict(np.stack([_decode(data, engine.model.preset, settings) for data in batch]))


def _decode(data: bytes, preset: object, settings: Settings) -> np.typing.NDArray[np.uint8]:
    return decode(data, preset, max_pixels=settings.max_image_pixels)  # type: ignore[arg-type]


def _batches(pictures: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(islice(pictures, _BATCH)):
        yield batch


def read_pictures(folder: Path) -> list[bytes]:
    """Every JPEG of a folder, in the order of their names."""
    found = [path.read_bytes() for path in sorted(folder.glob("*.[jJ][pP]*[gG]"))]
    if not found:
        raise SystemExit(f"no JPEG pictures in {folder}")
    return found
