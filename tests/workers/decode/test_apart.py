"""Pictures whose decoder is a single call into C: it ends when its time is over, in any case."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from shared.errors import ClassifierError, DecodeFailed, DecodeTimeout
from tests.pipeline.hostile.hostile_pictures import encoded, jpeg_of_many_passes
from tests.workers.decode.one_call import (
    heic_of_many_turns,
    jpeg_of_empty_scans,
    tiff_of_equal_strips,
    tiff_of_large_tiles,
)
from tests.workers.decode.preset import PRESET
from workers.decode import apart, decoder
from workers.decode.decoder import Decoder, Trial
from workers.decode.limits import DecodeLimits, GivenUp
from workers.decode.preprocessing import decode

DECODER = Decoder(PRESET, DecodeLimits(pixels=50_000_000, cpu_seconds=3, memory_bytes=400 * 2**20))


def processor_time() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@pytest.mark.parametrize(
    "data",
    [
        heic_of_many_turns(2048, 200),
        tiff_of_large_tiles(1_000_000),
        tiff_of_equal_strips(100_000),
        jpeg_of_empty_scans(12_000, 790),
    ],
    ids=["turns of a HEIC", "tiles of a TIFF", "strips of a TIFF", "scans of a JPEG"],
)
def test_a_single_call_ends_when_its_time_is_over(data: bytes) -> None:
    started = processor_time()
    pixels, *_ = DECODER.decode(data, trial=Trial(cpu_seconds=0.3, pixels=10**8))
    assert isinstance(pixels, DecodeTimeout)
    # Each of these calls takes more than five seconds, of which only those of the kernel may count
    # as a whole one.
    assert processor_time() - started < 2


@pytest.mark.parametrize(
    ("data", "needed"),
    [
        (jpeg_of_empty_scans(12_000, 790), True),
        (jpeg_of_empty_scans(100, 790), False),
        # It says that its pixels are coded in the arithmetic way.
        (jpeg_of_empty_scans(100, 1, frame=0xC9), True),
        (encoded(Image.new("RGB", (4000, 3000)), "JPEG", progressive=True), False),
        # The scans of a video behind the picture, as phones append it, are none of the picture.
        (encoded(Image.new("RGB", (4000, 3000)), "JPEG") + b"\xff\xda" * 100, False),
        # Any number of bytes FF may stand in front of a marker.
        (encoded(Image.new("RGB", (9, 9)), "JPEG").replace(b"\xff\xc0", b"\xff\xff\xc0"), False),
        (b"\xff\xd8\xff\xe0 no JPEG", True),
    ],
    ids=["scans", "small", "arithmetic", "progressive", "video", "fill", "damaged"],
)
def test_a_jpeg_is_decoded_apart_if_a_call_may_last(data: bytes, needed: bool) -> None:
    assert apart.is_needed(data) is needed


@pytest.mark.parametrize("unit", [b"\xff", b"\xff\xfe\0\2", b"\xff\xda\0\2"])
def test_it_takes_no_time_to_see_how_a_jpeg_is_coded(unit: bytes) -> None:
    data = b"\xff\xd8" + unit * (20_000_000 // len(unit))
    started = time.process_time()
    apart.is_needed(data)
    assert time.process_time() - started < 0.2


def test_what_a_decoder_prints_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    def print_much() -> None:
        for output in (1, 2):
            os.write(output, b"Bad code word\n" * 100_000)

    apart.run_apart(print_much, cpu_seconds=5)
    assert capfd.readouterr() == ("", "")


def test_an_unknown_error_of_a_decoder_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(RuntimeError):
        apart.run_apart(fail, cpu_seconds=5)
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.parametrize("form", ["HEIF", "AVIF"])
def test_a_picture_is_the_same_in_a_process_of_its_own(form: str) -> None:
    data = encoded(Image.linear_gradient("L").convert("RGB"), form)
    pixels, *_ = DECODER.decode(data)
    assert np.array_equal(pixels, decode(data, PRESET, max_pixels=50_000_000))  # type: ignore


@pytest.mark.parametrize(("seconds", "slow"), [(0.01, True), (1, False)])
def test_a_picture_that_takes_more_than_its_try_is_slow(seconds: float, slow: bool) -> None:
    """It has longer, because its decoding cannot be interrupted and go on later."""
    data = encoded(Image.effect_noise((1200, 900), 64).convert("RGB"), "HEIF")
    trial = Trial(seconds, 10**8, call_seconds=3 * seconds)
    pixels, milliseconds, is_slow, _ = DECODER.decode(data, trial=trial)
    assert not isinstance(pixels, ClassifierError) or slow, milliseconds
    assert is_slow is slow


def test_an_error_of_a_picture_keeps_its_code_and_its_words() -> None:
    limits = DecodeLimits(pixels=4000, cpu_seconds=3, memory_bytes=400 * 2**20)
    pixels, *_ = Decoder(PRESET, limits).decode(heic_of_many_turns(64, 0))
    assert isinstance(pixels, ClassifierError)
    assert pixels.code == "too_many_pixels"
    assert "64 x 64" in str(pixels)


@pytest.mark.parametrize(
    ("form", "is_needed"),
    [("AVIF", True), ("HEIF", True), ("TIFF", True), ("JPEG", False), ("PNG", False)],
)
def test_formats_whose_decoder_is_one_call_have_a_process_of_their_own(
    form: str, is_needed: bool
) -> None:
    data = encoded(Image.linear_gradient("L").convert("RGB"), form)
    assert apart.is_needed(data) is is_needed


def test_a_slow_call_in_this_process_counts() -> None:
    """A WebP is one call, whose length the number of pixels bounds."""
    data = encoded(Image.effect_noise((1200, 900), 64).convert("RGB"), "WEBP")
    for seconds, slow in ((0.005, True), (5, False)):
        assert DECODER.decode(data, trial=Trial(seconds, pixels=10**8)).slow is slow


def killed_by(number: signal.Signals) -> Callable[..., None]:
    def decode(*_: object, **__: object) -> None:
        faulthandler.disable()  # it would print where this process is
        os.kill(os.getpid(), number)

    return decode


def test_a_decoder_that_crashes_fails_its_picture_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "decode", killed_by(signal.SIGSEGV))
    pixels, *_ = DECODER.decode(encoded(Image.new("L", (9, 9)), "AVIF"))
    assert isinstance(pixels, DecodeFailed)


def test_a_process_that_something_else_kills_leaves_its_picture_undecided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoder, "decode", killed_by(signal.SIGKILL))
    with pytest.raises(RuntimeError, match="-9"):
        DECODER.decode(encoded(Image.new("L", (9, 9)), "AVIF"))


def test_no_process_is_left_when_its_parent_is_killed() -> None:
    reader, writer = os.pipe()

    def wait_for_ever() -> None:
        os.write(writer, b"%d" % os.getpid())
        signal.pause()

    if not (parent := os.fork()):
        apart.run_apart(wait_for_ever, cpu_seconds=5)
    process = int(os.read(reader, 20))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert gone_soon(process)


def gone_soon(process: int) -> bool:
    for _ in range(100):
        if not psutil.pid_exists(process) or psutil.Process(process).status() == "zombie":
            return True
        time.sleep(0.05)
    return False


def test_no_process_is_left_when_the_batch_ends_first(monkeypatch: pytest.MonkeyPatch) -> None:
    class OutOfTimeError(Exception):
        pass

    def end(*_: object) -> None:
        raise OutOfTimeError

    def end_parent(*_: object, **__: object) -> None:
        os.kill(os.getppid(), signal.SIGALRM)
        signal.pause()

    processes: list[int] = []
    fork = os.fork

    def noted_fork() -> int:
        processes.append(fork())
        return processes[-1]

    monkeypatch.setattr(os, "fork", noted_fork)
    monkeypatch.setattr(decoder, "decode", end_parent)
    before = signal.signal(signal.SIGALRM, end)
    try:
        with pytest.raises(OutOfTimeError):
            DECODER.decode(encoded(Image.new("L", (9, 9)), "AVIF"))
    finally:
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(ChildProcessError):
        os.waitpid(processes[0], os.WNOHANG)


def test_a_picture_that_is_given_up_ends_at_once_and_has_low_priority() -> None:
    def has_low_priority() -> bool:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return 19 in (os.getpriority(os.PRIO_PROCESS, int(each)) for each in children)

    began = time.monotonic()
    with pytest.raises(GivenUp):
        apart.run_apart(
            lambda: time.sleep(60), cpu_seconds=3, give_up=has_low_priority, low_priority=True
        )
    assert time.monotonic() - began < 30


def test_a_picture_that_is_not_given_up_is_decoded() -> None:
    data = encoded(Image.new("RGB", (400, 300), "red"), "JPEG")
    alone, *_ = DECODER.decode(data)
    for low_priority in (False, True):
        pixels, *_ = DECODER.decode(data, give_up=lambda: False, low_priority=low_priority)
        assert isinstance(pixels, np.ndarray) and np.array_equal(pixels, alone)


@pytest.mark.parametrize(
    "data",
    [heic_of_many_turns(2048, 200), jpeg_of_many_passes(1500)],
    ids=["in a process of its own", "in this one"],
)
def test_each_picture_can_be_given_up(data: bytes) -> None:
    asked: list[None] = []

    def give_up() -> bool:
        asked.append(None)
        return len(asked) == 3

    started = processor_time()
    with pytest.raises(GivenUp):
        DECODER.decode(data, give_up=give_up)
    assert processor_time() - started < 1
    assert len(asked) == 3
