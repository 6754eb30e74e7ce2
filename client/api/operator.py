"""The calls of an operator. They need a key with the scope `operate`. Answers are JSON values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypedDict, TypeVar
from urllib.parse import quote

from .records import Counts
from .transport.connection import Connection
from .transport.steps import Steps
from .types import checked, tests_of

T = TypeVar("T")

#: Jobs in one answer.
_PAGE = 100


class _Identified(TypedDict):
    id: str


class _Job(_Identified):
    owner: str
    lane: str
    state: str
    created_at: float


class _Lane(TypedDict):
    state: str
    since: float | None
    by: str
    reason: str
    workers: int
    outstanding_parts: int
    outstanding_images: int


class _DeadLetter(_Identified):
    owner: str
    lane: str
    at: float
    job_id: str
    index: int
    name: str


class _Worker(TypedDict):
    name: str
    lane: str
    seen_at: float
    host: str | None
    engine: str | None
    model_version: str | None
    started_at: float | None
    parts: int | None


class _Purged(TypedDict):
    cancelled: int
    more: bool
    made_before: float


class Operator:
    """All jobs, the lanes and the workers of one service."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def jobs(self, **filters: str | None) -> Iterator[dict[str, Any]]:
        """The jobs of all clients, the newest first. Filters are `state`, `lane` and `owner`."""
        before: str | None = None
        while True:
            jobs, before = self._call(
                _page, "GET", "/jobs", params={**filters, "limit": _PAGE, "before": before}
            )
            yield from jobs
            if before is None:
                return

    def job(self, job_id: str) -> dict[str, Any]:
        """Any job. Raises JobNotFound."""
        return self._call(_job, "GET", f"/jobs/{_segment(job_id)}")

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel any job. Raises JobNotFound."""
        return self._call(_job, "DELETE", f"/jobs/{_segment(job_id)}")

    def lanes(self) -> dict[str, dict[str, Any]]:
        """The state and the backlog of each lane."""
        return self._call(_lanes, "GET", "/lanes")

    def lane(self, name: str) -> dict[str, Any]:
        """The state and the backlog of one lane."""
        return self._call(lambda answer: _lanes(answer)[name], "GET", "/lanes")

    def set_lane_state(self, lane: str, state: str, reason: str) -> dict[str, Any]:
        """Let a lane be `open`, `paused`, `draining` or `closed`."""
        body = {"state": state, "reason": reason}
        return self._call(partial(_record, _Lane), "PUT", f"/lanes/{_segment(lane)}", body=body)

    def purge(self, lane: str) -> Iterator[int]:
        """Cancel all jobs of a lane. Gives the jobs that are cancelled so far, after each call."""
        cancelled, more = 0, True
        body: dict[str, float] = {}
        while more:
            answer = self._call(
                partial(_record, _Purged), "POST", f"/lanes/{_segment(lane)}/purge", body=body
            )
            more, body = answer["more"], {"made_before": answer["made_before"]}
            cancelled += answer["cancelled"]
            yield cancelled

    def dead_letters(self) -> list[dict[str, Any]]:
        """The dead letters of all clients, oldest first."""
        return self._call(partial(_list, _DeadLetter, "dead_letters"), "GET", "/dead-letters")

    def retry_dead_letter(self, letter_id: str) -> dict[str, Any]:
        """Classify its picture once more; gives its job. Raises DeadLetterNotFound."""
        return self._call(_identified, "POST", f"{_letter_path(letter_id)}/retry")

    def delete_dead_letter(self, letter_id: str) -> dict[str, Any]:
        """Delete it with its picture. Raises DeadLetterNotFound."""
        return self._call(_identified, "DELETE", _letter_path(letter_id))

    def workers(self) -> list[dict[str, Any]]:
        """What each worker runs."""
        return self._call(partial(_list, _Worker, "workers"), "GET", "/workers")

    def _call(self, read: Callable[[Any], T], method: str, path: str, **request: Any) -> T:
        """What `read` makes of the answer. Raises WrongAnswer if it cannot read it."""
        return self._connection.run(self._answer(read, method, f"/operator{path}", **request))

    def _answer(self, read: Callable[[Any], T], method: str, path: str, **request: Any) -> Steps[T]:
        response = yield from self._connection.request(method, path, **request)
        return read(response.json())


def _record(kind: type, value: Any) -> dict[str, Any]:
    """The value, which has at least the fields of `kind`. Raises LookupError and TypeError."""
    record: dict[str, Any] = checked(dict, value)
    for name, test in tests_of(kind).items():
        if not test(record[name]):
            raise TypeError(f"{name}: {record[name]!r}")
    return record


def _list(kind: type, name: str, answer: Any) -> list[dict[str, Any]]:
    return [_record(kind, each) for each in answer[name]]


def _job(value: Any) -> dict[str, Any]:
    job = _record(_Job, value)
    Counts.of(job["counts"])
    return job


def _page(answer: Any) -> tuple[list[dict[str, Any]], str | None]:
    """A page of jobs, and where the next one begins."""
    before = answer["next_before"]
    return list(map(_job, answer["jobs"])), None if before is None else checked(str, before)


def _lanes(answer: Any) -> dict[str, dict[str, Any]]:
    return {name: _record(_Lane, lane) for name, lane in answer["lanes"].items()}


def _identified(value: Any) -> dict[str, Any]:
    return _record(_Identified, value)


def _letter_path(letter_id: str) -> str:
    return f"/dead-letters/{quote(letter_id, safe=':')}"


def _segment(text: str) -> str:
    # A user typed it. It must stay one segment of the path.
    return quote(text, safe="")
