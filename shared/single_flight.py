"""Callers that ask at the same time share one call.

There is no thread. One of the callers makes the call for all whose questions leave with it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from redis.exceptions import ConnectionError, TimeoutError

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Caller(Generic[Question, Answer]):
    """One that waits for its answer."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.asked_at = time.monotonic()
        self.answer: Answer | None = None
        self.error: BaseException | None = None
        self.woken = threading.Event()  #: It may make the call now, or it has its answer.
        self.done = threading.Event()  #: It has its answer or its error.


class SingleFlight(Generic[Question, Answer]):
    """One call is in flight at a time; questions that come meanwhile share the next call.

    A caller that comes when nothing is in flight makes its call at once. A subclass may let several
    calls fly, and choose how many questions leave together.
    """

    def __init__(self, call: Callable[[list[Question]], Sequence[Answer]]) -> None:
        """`call` gets questions in the order in which they came, and gives an answer for each."""
        self._call = call
        self._lock = threading.Lock()
        self._waiting: deque[Caller[Question, Answer]] = deque()
        self._in_flight = 0

    @property
    def is_busy(self) -> bool:
        """Whether a call is in flight."""
        return self._in_flight > 0

    def ask(self, question: Question, *, patience: float | None = None) -> Answer:
        """The answer to `question`. Raises what the call raised.

        When a call cannot reach Redis, all callers that wait raise its error at once. After
        `patience` seconds the caller makes the call itself, whatever is in flight.
        """
        caller: Caller[Question, Answer] = Caller(question)
        with self._lock:
            self._waiting.append(caller)
            self._wake_next()
        try:
            caller.woken.wait(patience)
        except BaseException:  # its greenlet is killed: the others must not wait for it
            with self._lock:
                if caller in self._waiting:
                    self._waiting.remove(caller)
                self._wake_next()
            raise
        if callers := self._leave(caller):
            self._fly(callers)
        else:
            caller.done.wait()  # another caller makes the call for it
        if caller.error:
            raise caller.error
        return caller.answer  # type: ignore[return-value]

    def fail_all(self, error: Exception) -> None:
        """Let every caller that waits raise `error` now."""
        with self._lock:
            callers = list(self._waiting)
            self._waiting.clear()
        _finish(callers, error)

    def _leave(self, caller: Caller[Question, Answer]) -> list[Caller[Question, Answer]]:
        """Callers that leave with `caller`; none where it has left already."""
        with self._lock:
            if caller not in self._waiting:
                return []
            callers = self._choose(caller)
            self._in_flight += 1
            self._wake_next()
            return callers

    def _fly(self, callers: list[Caller[Question, Answer]]) -> None:
        error: BaseException | None = None
        try:
            answers = self._call([each.question for each in callers])
            for each, answer in zip(callers, answers, strict=True):
                each.answer = answer
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._land(callers, error)

    def _land(self, callers: list[Caller[Question, Answer]], error: BaseException | None) -> None:
        with self._lock:
            self._in_flight -= 1
            self._note_landed(callers, error)
            if isinstance(error, (ConnectionError, TimeoutError)):
                callers = [*callers, *self._waiting]
                self._waiting.clear()
            self._wake_next()
        if error and not isinstance(error, Exception):  # it is about the one that made the call
            error = ConnectionError("The request that asked for this one was ended.")
        _finish(callers, error)

    def _wake_next(self) -> None:
        """Let a caller make the next call, if there may be one. The lock is held."""
        if self._waiting and (caller := self._next_caller()):
            caller.woken.set()

    # What a subclass may decide. The lock is held.

    def _next_caller(self) -> Caller[Question, Answer] | None:
        """The one of those that wait who makes the next call; None while there may be none."""
        return None if self._in_flight else self._waiting[0]

    def _choose(self, caller: Caller[Question, Answer]) -> list[Caller[Question, Answer]]:
        """Take the callers of the next call, `caller` among them, from those that wait."""
        callers = list(self._waiting)
        self._waiting.clear()
        return callers

    def _note_landed(
        self, callers: list[Caller[Question, Answer]], error: BaseException | None
    ) -> None:
        """A call has ended."""


def _finish(callers: Sequence[Caller[Question, Answer]], error: BaseException | None) -> None:
    for each in callers:
        each.error = error
        each.done.set()
        each.woken.set()
