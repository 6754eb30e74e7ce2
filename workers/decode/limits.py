"""What decoding one picture may take of a pool process: pixels, processor time, memory."""

from __future__ import annotations

import ctypes
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.errors import DecodeTimeout, TooMuchMemory

_STATM = Path("/proc/self/statm")
_PAGE_BYTES = resource.getpagesize()

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
_LARGE_BLOCK_BYTES = 4 * 2**20


#: Often enough that small objects, which Python makes at 4 GB/s at most, stay below the ceiling.
_TICK_SECONDS = 0.02
#: Time for the exception to arrive. Raised inside a finaliser it is swallowed: then once more.
_AGAIN_SECONDS = 0.05

#: Room above the limit for clearing up. Without any, CPython 3.11 can spin for ever where it makes
#: an exception, hearing no signal.
_HEADROOM_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """Time and memory are watched from outside, so a bomb need not be known to be stopped."""

    pixels: int  #: Of the header; checked by whoever reads it.
    cpu_seconds: float
    memory_bytes: int  #: Beyond what the process had before.

    @contextmanager
    def enforced(self) -> Iterator[None]:
        """Raise in the body: DecodeTimeout, TooMuchMemory or MemoryError. For the main thread.

        Processor time, not the clock: that a machine is busy is not the picture's fault. A signal
        is heard between two calls into C. Pillow feeds JPEG and PNG to their decoders in small
        blocks; a WebP or a compressed TIFF is one call, which only the limit on pixels bounds.
        The kernel refuses what a single call asks for beyond the ceiling.
        """
        most_bytes = _mapped_bytes() + self.memory_bytes
        ends_at = time.process_time() + self.cpu_seconds

        def on_tick(*_: object) -> None:
            if time.process_time() >= ends_at:
                _tick_again_after(_AGAIN_SECONDS)
                raise DecodeTimeout
            if _mapped_bytes() > most_bytes:
                _tick_again_after(_AGAIN_SECONDS)
                raise TooMuchMemory

        heard = signal.signal(signal.SIGPROF, on_tick)
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        ceiling = most_bytes + _HEADROOM_BYTES
        if soft != resource.RLIM_INFINITY:
            ceiling = min(ceiling, soft)
        resource.setrlimit(resource.RLIMIT_AS, (ceiling, hard))
        try:
            _tick_again_after(_TICK_SECONDS)
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
            signal.signal(signal.SIGPROF, heard)


def return_large_blocks() -> None:
    """Have this process give freed memory back to the system, block by block.

    By itself glibc keeps blocks of the sizes that it has seen freed. One large picture would leave
    a process 250 MB larger, and the next would come on top of that.
    """
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


def _tick_again_after(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, seconds, seconds)


def _mapped_bytes() -> int:
    return int(_STATM.read_bytes().split()[0]) * _PAGE_BYTES
