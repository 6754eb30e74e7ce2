"""Limits on what decoding one picture may cost: pixels, processor time and memory."""

from __future__ import annotations

import ctypes
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.errors import DecodeTimeout, TooMuchMemory
from shared.settings import Settings

#: Only Linux has it. Elsewhere the memory for decoding is not limited.
_STATM = Path("/proc/self/statm")
_IS_LIMITED = _STATM.exists()
_PAGE_BYTES = resource.getpagesize()

_M_MMAP_THRESHOLD = -3  # From glibc's malloc.h.
_LARGE_BLOCK_BYTES = 4 * 2**20

#: Processor time between two checks. Python allocates small objects at 4 GB/s at most, so at this
#: interval they stay below the ceiling.
_TICK_SECONDS = 0.02
#: A tick that comes so late has waited for a single call into C.
_LATE_SECONDS = 3 * _TICK_SECONDS
#: Python swallows an exception that is raised in a finaliser. The next tick, after this time,
#: raises it again.
_AGAIN_SECONDS = 0.05

#: Room above the memory limit for cleaning up. Without it, CPython 3.11 can loop without end while
#: it creates an exception, and no signal handler runs.
_HEADROOM_BYTES = 64 * 2**20


class GivenUp(Exception):
    """Decoding was given up. It says nothing about the picture."""


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """Time and memory are watched from outside, so unknown kinds of bombs are stopped, too."""

    pixels: int  #: By the picture's header. `decode` checks it.
    cpu_seconds: float
    memory_bytes: int  #: Beyond what the process uses before decoding.

    @classmethod
    def of(cls, settings: Settings) -> DecodeLimits:
        return cls(
            pixels=settings.max_image_pixels,
            cpu_seconds=settings.max_decode_seconds,
            memory_bytes=settings.max_decode_bytes,
        )

    @contextmanager
    def enforced(
        self, cpu_seconds: float | None = None, give_up: Callable[[], bool] | None = None
    ) -> Iterator[None]:
        """Raise DecodeTimeout, TooMuchMemory or MemoryError in the body. Main thread only.

        Raises GivenUp soon after `give_up` returns true.

        `cpu_seconds` replaces the limit on processor time, for a first try. If the time runs out in
        a single call into C, the try may take as long again. A HEIC or AVIF is one such call, so
        its pixels are there when the signal comes.

        Processor time is measured because a busy machine is not the picture's fault. Python handles
        a signal between two calls into C. Pillow gives JPEG and PNG to their decoders in small
        blocks. A WebP is one call, which the pixel limit bounds. Other formats need a process of
        their own (workers.decode.apart). If a single call asks for memory beyond the ceiling, the
        kernel refuses it.
        """
        most_bytes = _mapped_bytes() + self.memory_bytes
        last_tick = time.process_time()
        ends_at = last_tick + (cpu_seconds or self.cpu_seconds)
        more_seconds = cpu_seconds or 0.0

        ended = False

        def on_tick(*_: object) -> None:
            nonlocal last_tick, ends_at, more_seconds
            if ended:  # a tick may come while the limits are taken back
                return
            late, last_tick = time.process_time() - last_tick > _LATE_SECONDS, time.process_time()
            if late and last_tick >= ends_at:
                ends_at, more_seconds = max(ends_at, last_tick + more_seconds), 0.0
            if last_tick >= ends_at:
                _tick_again_after(_AGAIN_SECONDS)
                raise DecodeTimeout
            if _mapped_bytes() > most_bytes:
                _tick_again_after(_AGAIN_SECONDS)
                raise TooMuchMemory
            if give_up and give_up():
                _tick_again_after(_AGAIN_SECONDS)
                raise GivenUp

        handler = signal.signal(signal.SIGPROF, on_tick)
        before = resource.getrlimit(resource.RLIMIT_AS)
        _limit_memory(before, most_bytes + _HEADROOM_BYTES)
        try:
            _tick_again_after(_TICK_SECONDS)
            yield
        finally:
            ended = True
            signal.setitimer(signal.ITIMER_PROF, 0)
            resource.setrlimit(resource.RLIMIT_AS, before)
            signal.signal(signal.SIGPROF, handler)


def _limit_memory(limits: tuple[int, int], ceiling: int) -> None:
    if not _IS_LIMITED:
        return
    soft, hard = limits
    if soft != resource.RLIM_INFINITY:
        ceiling = min(ceiling, soft)
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, hard))


def return_large_blocks() -> None:
    """Make glibc return freed large blocks to the system. Other C libraries have no such option.

    By default glibc keeps blocks of sizes that were freed before. One large picture would leave the
    process 250 MB larger, and the next picture would add to that.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


def _tick_again_after(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, seconds, seconds)


def _mapped_bytes() -> int:
    return int(_STATM.read_bytes().split()[0]) * _PAGE_BYTES if _IS_LIMITED else 0
