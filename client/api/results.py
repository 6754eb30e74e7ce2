"""The calls that read the results of a job, as steps: see `steps`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from .records import Item
from .transport.connection import Requests
from .transport.steps import Emit, Steps

#: Items in one answer.
_PAGE = 1000

#: Items with embeddings in one answer: about a megabyte.
_LINES = 256


def job_path(job_id: str) -> str:
    # The id may be anything that a user typed. It must stay one segment of the path.
    return f"/jobs/{quote(job_id, safe='')}"


def all_results(connection: Requests, job_id: str, *, embeddings: bool) -> Steps[None]:
    """Emits each Item. Only JSON Lines have embeddings."""
    if embeddings:
        read = 0
        while items := (yield from _lines(connection, job_id, read)):
            for item in items:
                yield Emit(item)
            read += len(items)
        return
    offset: int | None = 0
    while offset is not None:
        items, offset = yield from _page(connection, job_id, offset)
        for item in items:
            yield Emit(item)


def some_results(
    connection: Requests, job_id: str, first: int, most: int, *, embeddings: bool
) -> Steps[list[Item]]:
    """At least one of the items from `first` on, and at most `most`. The job has so many."""
    if embeddings:
        items = yield from _lines(connection, job_id, first, min(most, _LINES))
    else:
        items, _ = yield from _page(connection, job_id, first, min(most, _PAGE))
    if not items:
        raise ValueError("no results")
    return items[:most]


def _page(
    connection: Requests, job_id: str, offset: int, limit: int = _PAGE
) -> Steps[tuple[list[Item], int | None]]:
    """A page of items, and the offset of the next page."""
    params = {"offset": offset, "limit": limit}
    response = yield from connection.request("GET", f"{job_path(job_id)}/results", params=params)
    page = response.json()
    items, following = _in_order(page["items"], offset), page["next_offset"]
    if following is not None and following <= offset:
        raise ValueError(f"next_offset: {following}")
    return items, following


def _lines(
    connection: Requests, job_id: str, offset: int, limit: int = _LINES
) -> Steps[list[Item]]:
    """Some items, from the one at `offset` on, with their embeddings."""
    params = {"format": "jsonl", "offset": offset, "limit": limit}
    response = yield from connection.request("GET", f"{job_path(job_id)}/results", params=params)
    return _in_order([json.loads(line) for line in response.text.split("\n") if line], offset)


def _in_order(items: Sequence[Mapping[str, Any]], offset: int) -> list[Item]:
    """Raises ValueError if these are not the items from the one at `offset` on."""
    read = list(map(Item.of, items))
    if [item.index for item in read] != list(range(offset, offset + len(read))):
        raise ValueError("items are missing")
    return read
