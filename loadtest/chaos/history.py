"""The history of a run: what the clients sent, and what the service answered."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

from tests.support.webhook_receiver import WebhookReceiver


@dataclass
class History:
    """Clients add to it at the same time, each under `lock`."""

    receiver: WebhookReceiver
    #: The numbers of the pictures in each accepted job, by the job's id, in order.
    accepted: dict[str, list[int]] = field(default_factory=dict)
    #: The ids of the jobs that a client has cancelled.
    cancelled: set[str] = field(default_factory=set)
    #: Pictures by what became of their request.
    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, outcome: str, pictures: int) -> None:
        with self.lock:
            self.counts[outcome] += pictures

    def accept(self, job_id: str, numbers: list[int], *, cancelled: bool = False) -> None:
        with self.lock:
            self.accepted[job_id] = numbers
            if cancelled:
                self.cancelled.add(job_id)

    @property
    def images_accepted(self) -> int:
        return sum(map(len, list(self.accepted.values())))
