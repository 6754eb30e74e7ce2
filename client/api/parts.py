"""Sends one part of an open job: pictures that the service knows by digest, the others as bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any

from .connection import Connection
from ..errors import ImagesNeeded
from .multipart import Form

#: Items of every part but a job's last.
PART_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One item of a job before it is sent."""

    name: str  #: Valid text, as the service shall know it.
    digest: str  #: SHA-256, hex, of what `read` gave when the job was opened.
    read: Callable[[], bytes]
    custom_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A job that takes parts."""

    job_id: str
    known: frozenset[int]  #: Items that need no bytes.


def open_job(
    connection: Connection,
    digests: Sequence[str],
    *,
    top_k: int,
    lane: str | None = None,
    webhook: str | None = None,
    idempotency_key: str | None = None,
) -> Opened:
    """Raises Refused and NoAnswer."""
    options = {"lane": lane, "top_k": top_k, "webhook": webhook}
    body: dict[str, Any] = {"total": len(digests), "digests": list(digests)}
    body |= {name: value for name, value in options.items() if value is not None}
    answer = connection.call("POST", "/jobs", body=body, idempotency_key=idempotency_key).json()
    if answer["part_size"] != PART_SIZE:
        raise ValueError(f"the service takes parts of {answer['part_size']}: update this client")
    return Opened(job_id=answer["job"]["id"], known=frozenset(answer["known"]))


def part_count(items: int) -> int:
    return -(-items // PART_SIZE)


def part_range(number: int, items: int) -> range:
    """Items of the part."""
    return range(number * PART_SIZE, min((number + 1) * PART_SIZE, items))


def missing_parts(connection: Connection, opened: Opened, items: int, *, is_new: bool) -> list[int]:
    """Parts that must be sent still."""
    if is_new:
        return list(range(part_count(items)))
    missing: list[int] = connection.call("GET", f"/jobs/{opened.job_id}/parts").json()["missing"]
    return missing


def put_part(
    connection: Connection,
    opened: Opened,
    number: int,
    pictures: Sequence[Picture],
    *,
    by_digest: Set[int],
) -> Set[int]:
    """Send the items of `part_range(number, ...)`; those in `by_digest` without bytes.

    What the service has forgotten meanwhile is sent after all. Gives the items that were sent.
    Raises Refused, among it PartConflict and JobClosed, NoAnswer, and OSError of `read`.
    """
    items = range(number * PART_SIZE, number * PART_SIZE + len(pictures))
    known = set(items) & by_digest
    while True:
        form = _form(dict(zip(items, pictures, strict=True)), known)
        try:
            connection.call("PUT", f"/jobs/{opened.job_id}/parts/{number}", form=form)
            return set(items) - known
        except ImagesNeeded as error:
            forgotten = known.intersection(error.indexes)
            if not forgotten:
                raise
            known -= forgotten


def _form(pictures: dict[int, Picture], known: Set[int]) -> Form:
    entries = []
    files = []
    for index, picture in pictures.items():
        entry = {"name": picture.name}
        if picture.custom_id is not None:
            entry["custom_id"] = picture.custom_id
        if index in known:
            entry["digest"] = picture.digest
        else:
            # Their names are in `items`, which takes any text; a header does not.
            files.append(("files", "picture", picture.read()))
        entries.append(entry)
    return Form(files, {"items": json.dumps(entries, separators=(",", ":"))})
