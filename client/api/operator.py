"""The calls of an operator. They need a key with the scope `operate`. Answers are JSON values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from .transport.connection import Connection
from .transport.steps import Steps

#: Jobs in one answer.
_PAGE = 100


class Operator:
    """All jobs, the lanes and the workers of one service."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def jobs(self, **filters: str | None) -> Iterator[dict[str, Any]]:
        """The jobs of all clients, the newest first. Filters are `state`, `lane` and `owner`."""
        before: str | None = None
        while True:
            page = self._call("GET", "/jobs", params={**filters, "limit": _PAGE, "before": before})
            yield from page["jobs"]
            before = page["next_before"]
            if before is None:
                return

    def job(self, job_id: str) -> dict[str, Any]:
        """Any job. Raises JobNotFound."""
        return self._call("GET", f"/jobs/{_segment(job_id)}")

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel any job. Raises JobNotFound."""
        return self._call("DELETE", f"/jobs/{_segment(job_id)}")

    def lanes(self) -> dict[str, dict[str, Any]]:
        """The state and the backlog of each lane."""
        lanes: dict[str, dict[str, Any]] = self._call("GET", "/lanes")["lanes"]
        return lanes

    def set_lane_state(self, lane: str, state: str, reason: str) -> dict[str, Any]:
        """Let a lane be `open`, `paused`, `draining` or `closed`."""
        return self._call(
            "PUT", f"/lanes/{_segment(lane)}", body={"state": state, "reason": reason}
        )

    def purge(self, lane: str) -> Iterator[int]:
        """Cancel all jobs of a lane. Gives the jobs that are cancelled so far, after each call."""
        cancelled, more = 0, True
        body: dict[str, float] = {}
        while more:
            answer = self._call("POST", f"/lanes/{_segment(lane)}/purge", body=body)
            more, body = answer["more"], {"made_before": answer["made_before"]}
            cancelled += answer["cancelled"]
            yield cancelled

    def dead_letters(self) -> list[dict[str, Any]]:
        """The dead letters of all clients, oldest first."""
        letters: list[dict[str, Any]] = self._call("GET", "/dead-letters")["dead_letters"]
        return letters

    def retry_dead_letter(self, letter_id: str) -> dict[str, Any]:
        """Classify its picture once more; gives its job. Raises DeadLetterNotFound."""
        return self._call("POST", f"/dead-letters/{quote(letter_id, safe=':')}/retry")

    def delete_dead_letter(self, letter_id: str) -> dict[str, Any]:
        """Delete it with its picture. Raises DeadLetterNotFound."""
        return self._call("DELETE", f"/dead-letters/{quote(letter_id, safe=':')}")

    def workers(self) -> list[dict[str, Any]]:
        """What each worker runs."""
        workers: list[dict[str, Any]] = self._call("GET", "/workers")["workers"]
        return workers

    def _call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        return self._connection.run(self._answer(method, f"/operator{path}", **request))

    def _answer(self, method: str, path: str, **request: Any) -> Steps[dict[str, Any]]:
        response = yield from self._connection.request(method, path, **request)
        return dict(response.json())


def _segment(text: str) -> str:
    # A user typed it. It must stay one segment of the path.
    return quote(text, safe="")
