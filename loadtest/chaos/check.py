"""Waits until everything has drained, then compares the results with the history."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Any

import httpx
from redis.exceptions import RedisError

from loadtest.chaos.history import History
from shared import keys
from shared.jobs import Lane
from shared.serving import model_versions
from tests.support.local_service import LocalService
from workers.webhooks import QUEUE

#: The check gives up when nothing has been finished for so long. All of it may take longer.
_DRAIN_SECONDS = 180
#: A second delivery that comes late would change a result within this time.
_LATE_SECONDS = 3
_ENDED = ("completed", "cancelled")


class Check:
    """`right` has the label of each picture. `repair` is called while the check waits.

    A program that was struck as it started may end a while after the last strike.
    """

    def __init__(
        self,
        service: LocalService,
        history: History,
        right: Sequence[str],
        repair: Callable[[], None],
    ) -> None:
        self._service = service
        self._history = history
        self._right = right
        self._repair = repair
        self._left: object = None
        self._deadline = time.monotonic() + _DRAIN_SECONDS

    def faults(self) -> Counter[str]:
        """The number of pictures by what is wrong with them."""
        faults: Counter[str] = Counter({name: 0 for name in ("lost", "wrong", "changed")})
        seen = {}
        with httpx.Client(base_url=self._service.base_url, timeout=60, trust_env=False) as http:
            for job_id, numbers in self._history.accepted.items():
                items = seen[job_id] = self._results(http, job_id)
                faults["lost"] += len(numbers) - self._finished(job_id, items)
                faults["wrong"] += self._wrong(items, numbers)
            time.sleep(_LATE_SECONDS)
            for job_id, items in seen.items():
                faults["changed"] += self._results(http, job_id) != items
        faults["unexpected answers"] = sum(
            count for name, count in self._history.counts.items() if name.startswith("unexpected")
        )
        faults["left over"] = sum(self._left_over().values())
        # Jobs, not pictures. No webhook is due any more, so none of these will still come.
        faults["ends without a webhook"] = len(
            self._history.accepted.keys() - self._history.receiver.notified
        )
        return faults

    def _finished(self, job_id: str, items: Sequence[Any]) -> int:
        cancelled = job_id in self._history.cancelled
        ends = {"succeeded", "cancelled"} if cancelled else {"succeeded"}
        return sum(item["state"] in ends for item in items)

    def _wrong(self, items: Sequence[Any], numbers: Sequence[int]) -> int:
        labels = [item["predictions"] and item["predictions"][0]["class_name"] for item in items]
        return sum(
            bool(label) and label != self._right[n]
            for label, n in zip(labels, numbers, strict=True)
        )

    def _results(self, http: httpx.Client, job_id: str) -> list[Any]:
        """The items of a job once it has ended."""
        while time.monotonic() < self._deadline:
            self._repair()
            try:
                job = http.get(f"/jobs/{job_id}?wait=5")
                if job.status_code == 200 and job.json()["state"] in _ENDED:
                    break
            except httpx.TransportError:
                time.sleep(0.5)
            with suppress(RedisError):
                self._note_progress(self._outstanding())
        page = http.get(f"/jobs/{job_id}/results?limit=1000").json()
        items: list[Any] = page.get("items", [])
        return items

    def _outstanding(self) -> list[Any]:
        with closing(self._service.redis()) as redis:
            return [redis.get(f"outstanding_images:{lane}") for lane in Lane]

    def _note_progress(self, left: object) -> None:
        if left != self._left:
            self._left = left
            self._deadline = time.monotonic() + _DRAIN_SECONDS

    def _left_over(self) -> dict[str, int]:
        """What Redis still holds for work that has ended. It must come to nothing.

        A message that an earlier delivery left unacknowledged comes back once more and then goes.
        """
        redis = self._service.redis()
        while True:
            self._repair()
            left = {
                "outstanding": sum(redis.zcard(f"outstanding:{lane}") for lane in Lane),
                "images": sum(
                    abs(int(redis.get(f"outstanding_images:{lane}") or 0)) for lane in Lane
                ),
                "messages": sum(model_versions.waiting(redis, lane).total() for lane in Lane),
                "bytes": len(redis.keys("images:*")),
                "bytes held": int(redis.hget("held", "total") or 0),
                "webhooks": redis.zcard(keys.WEBHOOKS_DUE) + redis.llen(QUEUE),
            }
            self._note_progress(left)
            if not any(left.values()) or time.monotonic() > self._deadline:
                redis.close()
                return left
            time.sleep(0.5)
