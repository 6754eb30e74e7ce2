"""Questions to the result cache that are asked together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import cast

import pytest

from shared.jobs import ItemState, Outcome
from shared.result_cache import ResultCache
from web.submit.look_ups import LookUps


class Cache:
    """Knows an outcome of each digest that begins with `known`; answers when it may."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.may_answer = threading.Event()
        self.error: Exception | None = None

    def get(self, model_version: str, digests: Sequence[str]) -> list[Outcome | None]:
        self.asked.append((model_version, list(digests)))
        assert self.may_answer.wait(5)
        if self.error:
            raise self.error
        return [_outcome(each) if each.startswith("known") else None for each in digests]


def _outcome(digest: str) -> Outcome:
    return Outcome(state=ItemState.SUCCEEDED, model_version=digest)


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.fixture
def look_ups(cache: Cache) -> LookUps:
    return LookUps(cast(ResultCache, cache))


class Asking:
    """A question from a thread of its own."""

    def __init__(self, look_ups: LookUps, version: str, *digests: str) -> None:
        self._look_ups = look_ups
        self._question = (version, digests)
        self.answer: object = None
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        try:
            self.answer = self._look_ups.get(*self._question)
        except ConnectionError as error:
            self.answer = error

    def wait(self) -> object:
        self._thread.join(timeout=5)
        assert not self._thread.is_alive()
        return self.answer


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def ask(look_ups: LookUps, *questions: tuple[str, ...]) -> list[Asking]:
    """Questions that come one after the other while the first is under way."""
    asking = []
    for k, question in enumerate(questions):
        asking.append(Asking(look_ups, *question))
        until(lambda: look_ups._under_way and len(look_ups._waiting) == k)
    return asking


def test_what_is_asked_meanwhile_is_asked_together(cache: Cache, look_ups: LookUps) -> None:
    asking = ask(look_ups, ("v", "a"), ("v", "known b", "c"), ("v", "known d"))
    cache.may_answer.set()
    found = [each.wait() for each in asking]
    assert found == [[None], [_outcome("known b"), None], [_outcome("known d")]]
    assert cache.asked == [("v", ["a"]), ("v", ["known b", "c", "known d"])]


def test_each_is_asked_for_its_own_model_version(cache: Cache, look_ups: LookUps) -> None:
    asking = ask(look_ups, ("v", "a"), ("v", "b"), ("w", "known c"), ("v", "d"))
    cache.may_answer.set()
    found = [each.wait() for each in asking]
    assert found == [[None], [None], [_outcome("known c")], [None]]
    assert cache.asked == [("v", ["a"]), ("v", ["b", "d"]), ("w", ["known c"])]


def test_everyone_hears_of_an_outage_at_once_and_the_next_asks_again(
    cache: Cache, look_ups: LookUps
) -> None:
    asking = ask(look_ups, ("v", "a"), ("v", "b"), ("w", "c"))
    cache.error = ConnectionError("gone")
    cache.may_answer.set()
    assert [each.wait() for each in asking] == 3 * [cache.error]
    assert len(cache.asked) == 1

    cache.error = None
    assert look_ups.get("v", ["known d"]) == [_outcome("known d")]
