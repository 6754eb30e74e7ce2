"""What the service has promised so far: the jobs that it was asked to store, and their results.

A process may die before its answer arrives. So a job is registered here before it is stored, and
Redis tells whether it was accepted. It is accepted as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from shared.jobs import Lane, NewItem
from shared.records.claims import Claim

Digests = tuple[str, ...]


@dataclass
class PromisedPart:
    """A part, and the pictures that clients have sent as this part."""

    sent: list[Sequence[NewItem]] = field(default_factory=list)
    stored: Sequence[NewItem] | None = None  #: Those that the service accepted.
    stored_at: float = 0.0
    acknowledged: bool = False  #: A client knows that the part is accepted.
    outcomes: dict[int, str] = field(default_factory=dict)  #: By position: JSON, as it was seen.

    def unfinished(self) -> set[int]:
        """Positions of accepted images that have no outcome."""
        return set(range(len(self.stored or ()))) - self.outcomes.keys()

    def possible(self, position: int) -> set[str]:
        """Outcomes that the pictures had when they were sent."""
        given = (items[position].outcome for items in self.sent if position < len(items))
        return {outcome.to_json() for outcome in given if outcome}


@dataclass
class PromisedJob:
    id: str
    lane: Lane
    total: int
    client: str = ""  #: The client that has made it; empty in an older release.
    opened: bool = False
    webhook: bool = False
    claim: Claim | None = None
    parts: dict[int, PromisedPart] = field(default_factory=dict)
    acknowledged: bool = False  #: A client knows that the job is accepted.
    lives_until: float = 0.0  #: `expires_at`, as a client has read it last.
    is_here: bool = False  #: Its record was there at the last look.
    state: str = ""  #: The state at the last look.
    abandoned: bool = False  #: An `abandon` was tried: no client knows the job.
    disowned: bool = False  #: It was abandoned, so its claim is free again.
    given: dict[tuple[int, int], set[str]] = field(default_factory=dict)
    retried: set[tuple[int, int]] = field(default_factory=set)
    ends: int = 0  #: How often the job was seen to end.
    notified: int = 0  #: The end for which its webhook was delivered last.

    def sender(self, number: int) -> str:
        """The client that sends this part. Anybody may who knows the id of an open job."""
        return "another" if self.opened and number == 1 else self.client

    def give(self, number: int, position: int, outcome: str) -> None:
        """A worker has tried to commit this outcome."""
        self.given.setdefault((number, position), set()).add(outcome)


class Promised:
    def __init__(self, began: float) -> None:
        self.began = began  #: The time of the first step.
        self.jobs: dict[str, PromisedJob] = {}
        self.paused = False  #: Whether a process was frozen in a step until a key expired.

    def __iter__(self) -> Iterator[PromisedJob]:
        return iter(self.jobs.values())

    def claimed(self, claim: Claim) -> PromisedJob | None:
        """The job that was made with this client's key, at the last look."""
        made = [job for job in self if job.claim and job.claim.name == claim.name]
        return next((job for job in made if job.is_here and not job.disowned), None)

    def add(self, job: PromisedJob) -> PromisedJob:
        self.jobs[job.id] = job
        return job
