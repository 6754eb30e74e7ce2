"""Questions to the result cache that are asked together.

One is under way at a time; what is asked meanwhile goes in the next. Idle, nobody waits. Loaded, a
crowd of single pictures costs one round trip instead of one each.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from shared.jobs import Outcome
from shared.result_cache import ResultCache


class _Question:
    def __init__(self, model_version: str, digests: Sequence[str]) -> None:
        self.model_version = model_version
        self.digests = digests
        self.outcomes: list[Outcome | None] | None = None
        self.error: Exception | None = None
        self.woken = threading.Event()  # answered, or its turn to ask for all


class LookUps:
    def __init__(self, cache: ResultCache) -> None:
        self._cache = cache
        self._lock = threading.Lock()
        self._waiting: list[_Question] = []
        self._under_way = False

    def get(self, model_version: str, digests: Sequence[str]) -> list[Outcome | None]:
        """The known outcome of each digest, in order. Raises what asking raised."""
        question = _Question(model_version, digests)
        with self._lock:
            self._waiting.append(question)
            if not self._under_way:
                self._under_way = True
                question.woken.set()
        question.woken.wait()
        if question.outcomes is None and question.error is None:
            self._ask_for_all(question.model_version)
        if question.error:
            raise question.error
        assert question.outcomes is not None, "it was asked for its own model version"
        return question.outcomes

    def _ask_for_all(self, model_version: str) -> None:
        """Who asks has the turn, and is among those who wait."""
        with self._lock:
            waiting = self._waiting
            asked = [each for each in waiting if each.model_version == model_version]
            self._waiting = [each for each in waiting if each.model_version != model_version]
        try:
            found = self._cache.get(model_version, [d for each in asked for d in each.digests])
            for each in asked:
                each.outcomes, found = found[: len(each.digests)], found[len(each.digests) :]
        except Exception as error:
            # Who came meanwhile hears of an outage now, not after another time limit.
            with self._lock:
                asked, self._waiting = asked + self._waiting, []
            for each in asked:
                each.error = error
        finally:
            with self._lock:
                self._under_way = bool(self._waiting)
                following = self._waiting[:1]
            for each in asked + following:
                each.woken.set()
