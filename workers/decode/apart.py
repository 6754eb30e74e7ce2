"""Decoding in a process of its own, which the kernel ends when its processor time is over.

Python handles the signal of a time limit only between two calls into C. The decoders of some
formats are one call, and a small file can make it last for minutes: a HEIC that is turned 255
times, or a TIFF whose tiles or strips have a thousand times the bytes of the picture. A JPEG can
have hundreds of scans in the few kilobytes that its decoder gets at once. The pool
process would be killed in the end, three times for each picture, and others would wait meanwhile.

A fork costs ten milliseconds of processor time. So formats that are decoded in small blocks do
without, unless a picture is known to be slow. Such a picture is decoded with low priority, and can
be given up at any time.
"""

from __future__ import annotations

import ctypes
import math
import os
import pickle
import resource
import select
import signal
import traceback
import warnings
from collections.abc import Callable
from typing import NoReturn, TypeVar

from shared import formats
from shared.errors import DecodeFailed, DecodeTimeout
from shared.formats import HEAD_BYTES, recognised
from workers.decode import jpeg
from workers.decode.limits import GivenUp

_Result = TypeVar("_Result")

#: Formats whose decoders are one call into C, which the number of pixels does not bound.
_ONE_CALL = (formats.AVIF, formats.HEIC, formats.RAW, formats.TIFF)

#: A nice value. The other pictures of the worker go first. Those of a worker of `bulk` do so, too,
#: unless Linux first divides the cores between sessions (workers.upkeep.priority).
_LOWEST_PRIORITY = 19
_LOOK_SECONDS = 0.05

_PR_SET_PDEATHSIG = 1  # From Linux's sys/prctl.h.
#: Found before any fork, because another thread may hold the lock of the loader then.
_prctl = getattr(ctypes.CDLL(None), "prctl", None)

#: How a process ends in which a decoder has a fault.
_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)

#: How one ends whose time is over.
_TIMEOUTS = (signal.SIGVTALRM, signal.SIGXCPU)

#: macOS ends processes that use its libraries after a fork.
_IS_POSSIBLE = os.uname().sysname == "Linux"


def is_possible() -> bool:
    return _IS_POSSIBLE


def is_needed(data: bytes) -> bool:
    """Whether a picture is to be decoded in a process of its own."""
    if not _IS_POSSIBLE:
        return False
    form = recognised(data[:HEAD_BYTES])
    return form in _ONE_CALL or (form is formats.JPEG and jpeg.is_laborious(data))


def run_apart(
    work: Callable[[], _Result],
    *,
    cpu_seconds: float,
    give_up: Callable[[], bool] | None = None,
    low_priority: bool = False,
) -> _Result:
    """What `work` returns. It runs in a fork of this process, and what it returns is pickled.

    With `give_up` the fork is killed as soon as that returns true.

    Raises DecodeTimeout if it takes more processor time, and DecodeFailed if the process dies of a
    fault. Raises GivenUp if it was given up, and RuntimeError if something else has ended it.
    """
    reader, writer = os.pipe()
    parent = os.getpid()
    with warnings.catch_warnings(action="ignore"):  # Python warns of threads, which do not go along
        process = os.fork()
    if not process:
        _answer(work, writer, cpu_seconds, parent, low_priority=low_priority)
    os.close(writer)
    status = None
    try:
        with open(reader, "rb") as pipe:
            while give_up and not select.select([pipe], [], [], _LOOK_SECONDS)[0]:
                if give_up():
                    raise GivenUp
            answer = pipe.read()
        status = os.waitpid(process, 0)[1]
    finally:
        if status is None:  # it was given up, or the batch has no more time
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
    if status:
        raise _reason(os.waitstatus_to_exitcode(status))
    result: _Result = pickle.loads(answer)
    return result


def _answer(
    work: Callable[[], object], writer: int, cpu_seconds: float, parent: int, *, low_priority: bool
) -> NoReturn:
    """In the new process: write the result, and end."""
    code = 1
    words = _silence()
    try:
        _end_with(parent)
        if low_priority:
            os.setpriority(os.PRIO_PROCESS, 0, _LOWEST_PRIORITY)
        for timeout in _TIMEOUTS:
            signal.signal(timeout, signal.SIG_DFL)
        # The timer does not count what the kernel does. The limit does, in whole seconds.
        signal.setitimer(signal.ITIMER_VIRTUAL, cpu_seconds)
        whole = math.ceil(cpu_seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (whole, whole + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with open(writer, "wb") as pipe:
            pickle.dump(work(), pipe)
        code = 0
    except BaseException:
        os.write(words, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent is killed. Nobody would end it then."""
    if _prctl:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was killed before
        os._exit(1)


def _silence() -> int:
    """Drop what the decoders print. Returns a descriptor of what was standard error before.

    libtiff prints a line for each bad code, and a file may have a million of them. They would fill
    the pipe to the log, and a process that waits for a pipe uses no processor time.
    """
    words, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(nothing, output)
    return words


def _reason(code: int) -> Exception:
    """The error for a process that has not answered. `code` is negative for a signal."""
    if -code in _TIMEOUTS:
        return DecodeTimeout()
    if -code in _FAULTS:
        return DecodeFailed()
    return RuntimeError(f"the process that decoded a picture has ended with {code}")
