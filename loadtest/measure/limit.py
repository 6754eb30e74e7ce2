"""The limit: a bare loop in one process per core that decodes and classifies, without a service.

Results of a service are shares of this limit, which is measured in the same minute. Machines
differ, and the speed of a shared machine changes from minute to minute.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from itertools import cycle, islice
from multiprocessing.synchronize import Barrier
from threading import BrokenBarrierError
from typing import Literal

import numpy as np

from shared.settings import Settings
from workers.engine import load_engine
from workers.decode.preprocessing import decode

Stage = Literal["decode", "model"]


def measure_limit(
    pictures: Sequence[bytes],
    *,
    images: int,
    processes: int,
    settings: Settings,
    stages: Collection[Stage] = ("decode", "model"),
) -> float:
    """Images per second of `processes` bare loops that share `images` between them.

    Without the stage `decode` they classify the same pixels again and again. Without the stage
    `model` they only decode.
    """
    # A fork would inherit the engine of this process and its threads.
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes + 1)
    share = images // processes
    loops = [
        context.Process(
            target=_loop, args=(list(pictures), share, settings, stages, barrier), daemon=True
        )
        for _ in range(processes)
    ]
    for loop in loops:
        loop.start()
    with suppress(BrokenBarrierError):
        barrier.wait()
    started = time.perf_counter()
    for loop in loops:
        loop.join()
    seconds = time.perf_counter() - started
    if any(loop.exitcode for loop in loops):
        raise SystemExit("A bare loop has failed. Its error is above.")
    return share * processes / seconds


def _loop(
    pictures: list[bytes],
    images: int,
    settings: Settings,
    stages: Collection[Stage],
    barrier: Barrier,
) -> None:
    try:
        engine = load_engine(settings)
        preset, most = engine.model.preset, settings.max_image_pixels
        first = islice(cycle(pictures), engine.pictures_at_once)
        pixels = np.stack([decode(each, preset, max_pixels=most) for each in first])
        engine.predict(pixels)  # The first run allocates memory.
    except BaseException:
        barrier.abort()  # Without this, the others would wait for ever.
        raise
    barrier.wait()
    for batch in _batches(islice(cycle(pictures), images), engine.pictures_at_once):
        if "decode" in stages:
            pixels = np.stack([decode(each, preset, max_pixels=most) for each in batch])
        if "model" in stages:
            engine.predict(pixels[: len(batch)])


def _batches(pictures: Iterator[bytes], size: int) -> Iterator[list[bytes]]:
    while batch := list(islice(pictures, size)):
        yield batch
