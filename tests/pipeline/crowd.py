"""Clients that each send one picture after the other, and the check that all got their labels."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx

from tests.support.local_service import LocalService

_CLIENTS = 8


class Crowd:
    """Clients that each send one picture after the other and wait for its labels."""

    def __init__(self, service: LocalService, pictures: list[Path]) -> None:
        self.labelled = 0
        #: The ids of jobs that were accepted, and whose labels did not come within the wait.
        self.unfinished: list[str] = []
        self.unexpected: list[str] = []
        self._url = service.base_url
        self._pictures = [path.read_bytes() for path in pictures]
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(k,)) for k in range(_CLIENTS)]

    def _ask(self, client: int) -> None:
        number = 0
        with httpx.Client(base_url=self._url, timeout=60) as http:
            while not self._over.is_set():
                number += 1
                # Bytes after the end of a JPEG make the picture new to the result cache.
                picture = self._pictures[number % len(self._pictures)]
                tail = f"{client}-{number}-{time.time()}".encode()
                answer = http.post("/api/v1/classify?wait=10", content=picture + tail)
                self._note(answer)

    def _note(self, answer: httpx.Response) -> None:
        if answer.status_code == 200 and answer.json()["predictions"]:
            self.labelled += 1
        elif answer.status_code == 202:
            self.unfinished.append(answer.json()["id"])
        elif answer.status_code in (429, 503):
            time.sleep(0.2)  # the cores are for what recovers
        else:
            self.unexpected.append(f"{answer.status_code} {answer.text}")

    def wait_for_labels(self, more: int, *, seconds: float = 60) -> None:
        wanted, give_up = self.labelled + more, time.monotonic() + seconds
        while self.labelled < wanted:
            assert time.monotonic() < give_up, f"{self.labelled} labels, {self.unexpected[:3]}"
            time.sleep(0.05)

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def assert_all_labelled(service: LocalService, crowd: Crowd) -> None:
    """Wait for all jobs: a part whose message was lost is queued again after a minute."""
    assert not crowd.unexpected, crowd.unexpected[:5]
    with httpx.Client(base_url=service.base_url, timeout=60) as http:
        for job_id in crowd.unfinished:
            wait = f"/jobs/{job_id}?wait=50"
            job = [http.get(wait).json() for _ in range(2)][-1]
            assert (job["state"], job["counts"]["succeeded"]) == ("completed", 1), job
