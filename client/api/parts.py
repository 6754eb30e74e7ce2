"""Open a job and send its parts. Pictures that the service has cached are sent as digests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..errors import ImagesNeeded, InvalidRequest
from .transport.body import PictureFile, RawBody, size_of
from .transport.connection import FormField, Requests, file_field, text_field
from .types import checked
from .transport.steps import Steps, Work

#: Items of every part except a job's last.
PART_SIZE = 32

#: Requests at the same time.
CONCURRENCY = 4

#: Bytes that are sent at the same time, unless a single part has more. The service holds them in
#: memory or on its disk.
BYTES_AT_ONCE = 64 * 2**20


#: The content type of a part that is no form: a line of JSON, then the bytes of all pictures. The
#: service has less work with it.
RAW_PART = "application/vnd.image-classifier.part"

#: The refusal of a part that is no form. During an upgrade, a web process of the release before may
#: get the part of a job that a new one has opened.
_NEEDS_FORM = "no_files"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One item of a job before it is sent."""

    name: str  #: Valid text: the item's name at the service.
    digest: str  #: SHA-256 in hex of its content when the job was opened.
    size: int  #: In bytes, then.
    content: Callable[[], bytes | PictureFile]
    custom_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class OpenJob:
    """A job that accepts parts."""

    job_id: str
    cached: frozenset[int]  #: Items that the service answers from its cache, without bytes.
    raw: bool = False  #: Whether the service reads parts that are no forms. An older one does not.


def open_job(
    connection: Requests,
    digests: Sequence[str],
    *,
    top_k: int,
    min_score: float = 0,
    embeddings: bool = False,
    lane: str | None = None,
    webhook: str | None = None,
    idempotency_key: str | None = None,
) -> Steps[OpenJob]:
    """Open a job of one item for each digest. Raises Refused and NoAnswer."""
    options = {
        "lane": lane,
        "top_k": top_k,
        "min_score": min_score or None,  # services of earlier releases refuse it
        "embeddings": embeddings or None,
        "webhook": webhook,
    }
    body: dict[str, Any] = {"total": len(digests), "digests": list(digests)}
    body |= {name: value for name, value in options.items() if value is not None}
    response = yield from connection.request(
        "POST", "/jobs", body=body, idempotency_key=idempotency_key
    )
    answer = response.json()
    if answer["part_size"] != PART_SIZE:
        raise ValueError(
            f"The service expects parts of {answer['part_size']} images and this client sends"
            f" parts of {PART_SIZE}. Update the client."
        )
    return OpenJob(
        job_id=checked(str, answer["job"]["id"]),
        cached=frozenset(answer["known"]),
        raw=RAW_PART in answer.get("part_types", ()),
    )


def part_count(items: int) -> int:
    """The number of parts of a job."""
    return -(-items // PART_SIZE)


def part_range(number: int, items: int) -> range:
    """The items of a part, in a job of so many items."""
    return range(number * PART_SIZE, min((number + 1) * PART_SIZE, items))


def parts_at_once(parts: Iterable[Sequence[Picture]]) -> int:
    """How many of these parts may be sent at the same time."""
    largest = max((sum(each.size for each in part) for part in parts), default=0)
    return max(1, min(CONCURRENCY, BYTES_AT_ONCE // max(1, largest)))


def missing_parts(connection: Requests, job: OpenJob) -> Steps[list[int]]:
    """The numbers of the parts that the service does not have yet."""
    response = yield from connection.request("GET", f"/jobs/{job.job_id}/parts")
    return [checked(int, number) for number in response.json()["missing"]]


def put_part(
    connection: Requests,
    job: OpenJob,
    number: int,
    pictures: Sequence[Picture],
    *,
    by_digest: Set[int],
) -> Steps[Set[int]]:
    """Send the items of one part. Those in `by_digest` are sent without bytes.

    If the service has dropped a result from its cache meanwhile, the bytes are sent after all.
    Returns the items whose bytes were sent. Raises Refused (among others PartConflict and
    JobClosed), NoAnswer, and OSError from `Picture.content`, or if a file changes its size while it
    is sent.
    """
    items = range(number * PART_SIZE, number * PART_SIZE + len(pictures))
    without_bytes = set(items) & by_digest
    raw = job.raw
    while True:
        numbered = dict(zip(items, pictures, strict=True))
        make = _raw if raw else _form
        body = yield Work(partial(make, numbered, frozenset(without_bytes)))
        try:
            yield from connection.request("PUT", f"/jobs/{job.job_id}/parts/{number}", **body)
            return set(items) - without_bytes
        except ImagesNeeded as error:
            needed = without_bytes.intersection(error.indexes)
            if not needed:
                raise
            without_bytes -= needed
        except InvalidRequest as error:
            if not raw or error.code != _NEEDS_FORM:
                raise
            raw = False


def _raw(pictures: dict[int, Picture], without_bytes: Set[int]) -> dict[str, RawBody]:
    entries, contents = _entries(pictures, without_bytes)
    sent = (entry for entry in entries if "digest" not in entry)
    for entry, content in zip(sent, contents, strict=True):
        entry["size"] = size_of(content)
    return {"raw": RawBody(_json(entries).encode(), contents, RAW_PART)}


def _form(pictures: dict[int, Picture], without_bytes: Set[int]) -> dict[str, list[FormField]]:
    entries, contents = _entries(pictures, without_bytes)
    # The real name is in `entries`, which can carry any text. A header cannot.
    files = [file_field("files", "picture", content) for content in contents]
    return {"form": [text_field("items", _json(entries)), *files]}


def _entries(
    pictures: dict[int, Picture], without_bytes: Set[int]
) -> tuple[list[dict[str, Any]], list[bytes | PictureFile]]:
    """An entry for each picture, and the contents of those that are sent with their bytes."""
    entries = []
    contents = []
    for index, picture in pictures.items():
        entry: dict[str, Any] = {"name": picture.name}
        if picture.custom_id is not None:
            entry["custom_id"] = picture.custom_id
        if index in without_bytes:
            entry["digest"] = picture.digest
        else:
            contents.append(picture.content())
        entries.append(entry)
    return entries, contents


def _json(entries: list[dict[str, Any]]) -> str:
    return json.dumps(entries, separators=(",", ":"))
