"""Clients that send pictures in every way: at once, as archives, and in parts of an open job."""

from __future__ import annotations

import io
import random
import time
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from loadtest.chaos.history import History
from shared.jobs import PART_SIZE, Lane

#: The longest pause of a client. With four clients about as much comes in as two cores classify.
_PAUSE_SECONDS = 1.0
_RETRY_SECONDS = 0.2

#: The shares of jobs that are opened and filled in parts, and of jobs that are one archive.
_OPENED = 0.3
_ARCHIVED = 0.2


class Client:
    """One client. Its requests follow from `seed`."""

    def __init__(
        self, base_url: str, pictures: Sequence[bytes], history: History, seed: int
    ) -> None:
        self._base_url = base_url
        self._pictures = pictures
        self._history = history
        self._seed = seed
        self._chance = random.Random(seed)

    def run(self, enough: Callable[[], bool]) -> None:
        number = 0
        with httpx.Client(base_url=self._base_url, timeout=20, trust_env=False) as http:
            while not enough():
                time.sleep(self._chance.uniform(0, _PAUSE_SECONDS))
                number += 1
                self._submit(http, number)

    def _submit(self, http: httpx.Client, number: int) -> None:
        size = self._chance.choice([1, 1, 5, 40])
        numbers = [self._chance.randrange(len(self._pictures)) for _ in range(size)]
        # Bytes after the end of a JPEG are ignored. They make each file new to the result cache.
        tail = f"{self._seed}-{number}".encode()
        files = [("files", (str(n), self._pictures[n] + tail)) for n in numbers]
        lane = self._chance.choice(list(Lane))
        way = self._chance.random()
        self._history.count("attempted", size)
        if way < _OPENED:
            _Upload(http, files, numbers, lane, self._history, self._chance).run()
        elif way < _OPENED + _ARCHIVED:
            self._send(http, [_archive(files)], numbers, lane, "accepted as archives")
        else:
            self._send(http, files, numbers, lane, "accepted")

    def _send(
        self, http: httpx.Client, files: list[Any], numbers: list[int], lane: Lane, accepted: str
    ) -> None:
        fields = {"lane": lane, "top_k": 1, "webhook": self._history.receiver.url}
        try:
            answer = http.post("/jobs", files=files, data=fields)
        except httpx.TransportError:
            # The service may have stored the job or not. It has promised nothing.
            self._history.count("no answer", len(numbers))
            time.sleep(_RETRY_SECONDS)
            return
        if answer.status_code == 202:
            self._history.count(accepted, len(numbers))
            self._history.accept(answer.json()["id"], numbers)
        elif answer.status_code in (429, 503):
            self._history.count("refused", len(numbers))
            time.sleep(_RETRY_SECONDS)
        else:
            self._history.count(f"unexpected {answer.status_code}", len(numbers))


def _archive(files: list[Any]) -> Any:
    with io.BytesIO() as packed:
        with zipfile.ZipFile(packed, "w") as archive:
            for k, (_, (name, data)) in enumerate(files):
                archive.writestr(f"{k}-{name}.jpg", data)
        return "files", ("folder.zip", packed.getvalue())


class _Upload:
    """A job that is opened, filled in parts and sometimes cancelled.

    A request without an answer is sent again, as the API allows.
    """

    def __init__(
        self,
        http: httpx.Client,
        files: list[Any],
        numbers: list[int],
        lane: Lane,
        history: History,
        chance: random.Random,
    ) -> None:
        self._http = http
        self._files = files
        self._numbers = numbers
        self._lane = lane
        self._history = history
        self._chance = chance

    def run(self) -> None:
        job_id = self._open()
        order = self._order()
        cancel_after = self._chance.choice([None, None, *range(len(order) + 1)])
        for part in order[:cancel_after]:
            files = self._files[part * PART_SIZE : (part + 1) * PART_SIZE]
            self._ask("PUT", f"/jobs/{job_id}/parts/{part}", files=files)
        cancelled = cancel_after is not None
        if cancelled:
            self._ask("DELETE", f"/jobs/{job_id}")
        self._history.accept(job_id, self._numbers, cancelled=cancelled)
        outcome = "cancelled" if cancelled else "accepted in parts"
        self._history.count(outcome, len(self._numbers))

    def _open(self) -> str:
        fields = {"total": len(self._files), "lane": self._lane, "top_k": 1}
        fields["webhook"] = self._history.receiver.url
        job_id: str = self._ask("POST", "/jobs", json=fields)["job"]["id"]
        return job_id

    def _order(self) -> list[int]:
        """Each part at least once, one part twice, in random order."""
        parts = list(range(-(-len(self._files) // PART_SIZE)))
        order = self._chance.sample(parts * 2, k=len(parts) + 1)
        return order + [part for part in parts if part not in order]

    def _ask(self, method: str, path: str, **body: Any) -> Any:
        while True:
            try:
                answer = self._http.request(method, path, **body)
            except httpx.TransportError:
                time.sleep(_RETRY_SECONDS)
                continue
            if answer.is_success:
                return answer.json()
            if answer.status_code not in (429, 503):
                self._history.count(f"unexpected {answer.status_code}", len(self._numbers))
                raise RuntimeError(answer.text)
            time.sleep(_RETRY_SECONDS)
