"""Calls as steps, which know nothing of sockets, threads and event loops.

A call is a generator. It yields steps and gets their results. `Connection` does the steps one after
the other, and `AsyncConnection` awaits them. So both have all else in common.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import httpx

T = TypeVar("T")


@dataclass(frozen=True)
class Send:
    """Send a request. The result is the response, or the httpx.RequestError.

    With `stream`, the result of a success is a Stream.
    """

    request: httpx.Request
    stream: bool = False


@dataclass(frozen=True)
class Stream:
    """A successful response whose lines are still to be read."""

    response: httpx.Response
    lines: Any  #: An iterator, or an asynchronous one.


@dataclass(frozen=True)
class ReadLine:
    """Read the next line. The result is None at the end, and if the connection breaks."""

    stream: Stream


@dataclass(frozen=True)
class Pause:
    """Wait. The result is True if the client is being stopped."""

    seconds: float


@dataclass(frozen=True)
class Work:
    """Call a function that reads files. The result is what it returns."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Together:
    """Do several calls, so many at the same time. The result has those of the calls, in order."""

    calls: Sequence[Steps[Any]]
    concurrency: int


@dataclass(frozen=True)
class Emit:
    """Give a value to the caller, who iterates over them."""

    value: Any


Step: TypeAlias = Send | ReadLine | Pause | Work | Together | Emit
Steps: TypeAlias = Generator[Step, Any, T]


def work(function: Callable[[], T]) -> Steps[T]:
    """A call of a single step of work."""
    result: T = yield Work(function)
    return result
