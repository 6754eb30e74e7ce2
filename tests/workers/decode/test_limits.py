"""Decoding a picture stays within its limits of processor time and memory."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from PIL import Image

from shared.errors import ClassifierError, DecodeTimeout
from tests.pipeline.hostile.hostile_pictures import (
    encoded,
    jpeg_of_many_passes,
    png,
    png_of_many_orientations,
    tiff_of_many_strips,
)
from tests.workers.decode.preset import PRESET
from workers.decode.limits import DecodeLimits, return_large_blocks
from workers.decode.preprocessing import decode

# Python prints an exception that is raised in a finaliser. The next tick raises it again.
may_land_in_a_finaliser = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


def limits(*, seconds: float = 3.0, megabytes: int = 400) -> DecodeLimits:
    return DecodeLimits(pixels=50_000_000, cpu_seconds=seconds, memory_bytes=megabytes * 2**20)


def code(data: bytes, within: DecodeLimits) -> str:
    with pytest.raises(ClassifierError) as raised, within.enforced():
        decode(data, PRESET, max_pixels=within.pixels)
    return raised.value.code


@pytest.fixture
def pool_process() -> Iterator[ProcessPoolExecutor]:
    """A new process. In an old one, a picture could use memory that other tests have freed."""
    with ProcessPoolExecutor(1, get_context("spawn"), return_large_blocks) as pool:
        yield pool


@may_land_in_a_finaliser
@pytest.mark.parametrize(
    "make",
    [
        lambda: jpeg_of_many_passes(5_000),
        lambda: png_of_many_orientations(700_000),
        lambda: encoded(Image.new("L", (9, 9)), "JPEG")[:2] + b"\xff" * 15_000_000,
    ],
    ids=["passes of a JPEG", "fractions in EXIF", "padding of a JPEG"],
)
def test_a_picture_that_computes_for_long_is_stopped(make: Callable[[], bytes]) -> None:
    data = make()
    started = time.process_time()
    assert code(data, limits(seconds=0.3)) == "decode_timeout"
    # Processor time: the signal waits for the running call into C, and the kernel counts ticks.
    assert time.process_time() - started < 1.5


@pytest.mark.parametrize(
    "make",
    [
        lambda: tiff_of_many_strips(2_000_000),
        lambda: png(4000, 4000, colour=6),
    ],
    ids=["strips of a TIFF", "pixels of a PNG"],
)
def test_a_picture_that_needs_more_memory_is_refused(
    make: Callable[[], bytes], pool_process: ProcessPoolExecutor
) -> None:
    refusal = pool_process.submit(code, make(), limits(megabytes=50)).result()
    # With little memory left, Python may become so slow that the time runs out first.
    assert refusal in ("too_much_memory", "decode_timeout")


@may_land_in_a_finaliser
def test_the_limits_end_with_the_block() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGPROF)
    code(tiff_of_many_strips(2_000_000), limits(megabytes=50))
    code(png_of_many_orientations(700_000), limits(seconds=0.2))
    assert (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGPROF)) == before
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)
    with limits(seconds=1).enforced():
        decode(encoded(Image.new("RGB", (400, 300)), "JPEG"), PRESET, max_pixels=10**6)


def test_waiting_costs_no_processor_time() -> None:
    """In a process of its own: threads of other tests would count."""
    program = """
import time
from workers.decode.limits import DecodeLimits
with DecodeLimits(pixels=1, cpu_seconds=0.2, memory_bytes=2**30).enforced():
    time.sleep(0.5)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_loop_in_python_is_stopped() -> None:
    with pytest.raises(DecodeTimeout), limits(seconds=0.1).enforced():
        while True:
            pass


def one_call_of(seconds: float) -> None:
    """A call into C that takes so long, more or less. Signals wait for it."""
    started = time.process_time()
    sum(range(1_000_000))
    sum(range(int(1_000_000 * seconds / (time.process_time() - started))))


def test_a_first_try_keeps_what_a_single_call_into_c_has_computed() -> None:
    with limits().enforced(0.2):
        one_call_of(0.3)
        one_call_of(0.01)


def test_a_first_try_ends_after_the_next_long_call() -> None:
    with pytest.raises(DecodeTimeout), limits().enforced(0.1):
        one_call_of(0.2)
        one_call_of(0.2)


def test_the_limit_itself_does_not_wait_for_what_follows_a_call() -> None:
    with pytest.raises(DecodeTimeout), limits(seconds=0.1).enforced():
        one_call_of(0.2)
        one_call_of(0.01)


def test_a_tick_while_the_limits_are_taken_back_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal may wait for the end of a call into C."""
    setitimer = signal.setitimer

    def late(which: int, seconds: float, interval: float = 0.0) -> None:
        setitimer(which, seconds, interval)
        if not seconds:
            signal.raise_signal(signal.SIGPROF)

    before = resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGPROF)
    with limits(seconds=1e-9).enforced():
        monkeypatch.setattr(signal, "setitimer", late)
    assert before == (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGPROF))
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
