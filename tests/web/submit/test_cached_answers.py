"""Answers from the result cache that are asked for together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import cast

import pytest
from redis.exceptions import ConnectionError

from shared.errors import ModelNotReady
from shared.jobs import ItemState, Outcome
from shared.result_cache import ResultCache
from shared.serving.model_versions import CurrentModel
from shared.thumbnails import Thumbnails
from web.intake.uploads import Upload
from web.submit.cached_answers import CachedAnswers


class Cache:
    """Has an outcome for each digest that begins with `known`; answers when it may."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.may_answer = threading.Event()
        self.error: Exception | None = None

    def get(
        self, model_version: str, digests: Sequence[str], *, embeddings: bool = False
    ) -> list[Outcome | None]:
        self.asked.append((model_version, list(digests)))
        assert self.may_answer.wait(5)
        if self.error:
            raise self.error
        return [_outcome(each) if each.startswith("known") else None for each in digests]


class Model:
    version: str | None = "v"

    def get(self) -> SimpleNamespace:
        if self.version is None:
            raise ModelNotReady
        return SimpleNamespace(version=self.version)


def _outcome(digest: str) -> Outcome:
    return Outcome(state=ItemState.SUCCEEDED, model_version=digest)


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def answers(cache: Cache, model: Model) -> CachedAnswers:
    none = cast(Thumbnails, None)  # these tests ask for none
    return CachedAnswers(cast(ResultCache, cache), none, cast(CurrentModel, model))


def outcomes(answers: CachedAnswers, *digests: str) -> list[Outcome | None]:
    uploads = [Upload(name="", digest=each, size=1, read=None) for each in digests]
    return answers.outcomes(uploads, top_k=5)


class Asking:
    """A question from a thread of its own."""

    def __init__(self, answers: CachedAnswers, *digests: str) -> None:
        self._answers = answers
        self._digests = digests
        self.answer: object = None
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        try:
            self.answer = outcomes(self._answers, *self._digests)
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
        time.sleep(0.002)


def ask(answers: CachedAnswers, model: Model, *questions: tuple[str, ...]) -> list[Asking]:
    """Questions that come one after the other while the first is in flight.

    Each is for a model version, and for digests.
    """
    asking = []
    flight = answers._flight
    for k, (model.version, *digests) in enumerate(questions):
        asking.append(Asking(answers, *digests))
        until(lambda: flight.is_busy and len(flight._waiting) == k)
    return asking


def test_what_is_asked_meanwhile_is_asked_together(
    cache: Cache, model: Model, answers: CachedAnswers
) -> None:
    asking = ask(answers, model, ("v", "a"), ("v", "known b", "c"), ("v", "known d"))
    cache.may_answer.set()
    answered = [each.wait() for each in asking]
    assert answered == [[None], [_outcome("known b"), None], [_outcome("known d")]]
    assert cache.asked == [("v", ["a"]), ("v", ["known b", "c", "known d"])]


def test_each_is_asked_for_its_own_model_version(
    cache: Cache, model: Model, answers: CachedAnswers
) -> None:
    asking = ask(answers, model, ("v", "a"), ("v", "b"), ("w", "known c"), ("v", "d"))
    cache.may_answer.set()
    answered = [each.wait() for each in asking]
    assert answered == [[None], [None], [_outcome("known c")], [None]]
    assert cache.asked[0] == ("v", ["a"])
    assert sorted(cache.asked[1:]) == [("v", ["b", "d"]), ("w", ["known c"])]


def test_everyone_hears_of_an_outage_at_once_and_the_next_asks_again(
    cache: Cache, model: Model, answers: CachedAnswers
) -> None:
    asking = ask(answers, model, ("v", "a"), ("v", "b"), ("w", "c"))
    cache.error = ConnectionError("gone")
    cache.may_answer.set()
    assert [each.wait() for each in asking] == 3 * [cache.error]
    assert len(cache.asked) == 1

    cache.error = None
    assert outcomes(answers, "known d") == [_outcome("known d")]


def test_a_file_with_a_fault_is_not_asked_for(
    cache: Cache, model: Model, answers: CachedAnswers
) -> None:
    cache.may_answer.set()
    fault = ModelNotReady()
    bad = Upload(name="", digest="bad", size=1, read=None, error=fault)
    good = Upload(name="", digest="known good", size=1, read=None)
    assert answers.outcomes([bad, good], top_k=5) == [
        Outcome.failure(fault),
        _outcome("known good"),
    ]
    assert cache.asked == [("v", ["known good"])]


def test_without_a_model_nothing_is_known_and_nothing_is_asked(
    cache: Cache, model: Model, answers: CachedAnswers
) -> None:
    model.version = None
    assert outcomes(answers, "known a") == [None]
    assert answers.positions(["known a"]) == []
    assert cache.asked == []
