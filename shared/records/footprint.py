"""How many bytes of Redis's memory the records of a request will take, at most.

Admission asks for room for them before they are stored. A test compares with a real Redis.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from shared.jobs import parts_of
from shared.thumbnails import MOST_BYTES

#: The record of a job, with its idempotency claim, its place in the list of jobs, and a long
#: webhook address.
_JOB = 6_000

#: An item in its part's record, without its names, and a share of the part's own keys.
_ITEM = 400

#: The result of an image: in its part's record, and once more in the result cache. Each image that
#: is accepted will have one, so admission keeps this much free for each outstanding image.
RESULT = 3_000

#: What Redis puts before the bytes of an image, and behind them.
_HEADER = 10

#: A thumbnail and its key.
_THUMBNAIL = MOST_BYTES + 500


#: The field or the key of an embedding.
_EMBEDDING = 200


class Item(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def custom_id(self) -> str | None: ...


def of_items(items: Sequence[Item], *, thumbnails: bool = False, embeddings: int = 0) -> int:
    """Bytes that a job with these items takes, or a part of them, once all results are there.

    The embedding of each has so many numbers.
    """
    more = _THUMBNAIL if thumbnails else 0
    # Once more in the result cache.
    more += 2 * (2 * embeddings + _EMBEDDING) if embeddings else 0
    return _JOB + sum(map(_of_item, items)) + more * len(items)


def of_image(size: int) -> int:
    """Bytes of memory for an image of `size` bytes, until it has a result.

    jemalloc, which Redis uses, has four sizes for each power of two. So 17 MB take 20 MB.
    """
    size += _HEADER
    step: int = 2 ** max(0, (size - 1).bit_length() - 3)
    return math.ceil(size / step) * step


def of_open_job(total: int) -> int:
    """Bytes of a job that is opened for `total` images. Its parts are counted as they come."""
    return _JOB + parts_of(total) // 8


def _of_item(item: Item) -> int:
    return _ITEM + RESULT + _of_text(item.name) + _of_text(item.custom_id or "")


def _of_text(text: str) -> int:
    """JSON escapes some characters with another one."""
    return 2 * len(text.encode(errors="replace"))


# What a client is said to keep, in its account. It is close to the truth, while the figures above
# are the most that is possible.

#: The record of a job and its place in lists; the keys of a part; the result of an image.
_KEPT_JOB, _KEPT_PART, _KEPT_RESULT = 750, 500, 700

#: An idempotency claim without its name; a webhook that is due.
_KEPT_CLAIM, _KEPT_WEBHOOK = 200, 100

#: Redis stores the record of a job as a table if one of its texts is longer. That takes more.
_LONGEST_TEXT, _KEPT_TABLE = 64, 1_100


def kept_of_job(fields: Mapping[str, Any], claim: str | None, total: int = 0) -> int:
    """Bytes of a job's record with these fields and of its claim, without its parts.

    `claim` is the Redis key of the idempotency claim. `total` is that of a job that is opened for
    parts.
    """
    sizes = list(_sizes(fields))
    kept = parts_of(total) // 8
    if claim:
        sizes.append(len(claim.encode()))
        kept += _KEPT_CLAIM + sizes[-1]  # The name is a Redis key, and in the job's record.
    if "webhook" in fields:
        kept += _KEPT_WEBHOOK
    if max(sizes, default=0) > _LONGEST_TEXT:
        kept += _KEPT_TABLE
    return _KEPT_JOB + sum(sizes) + kept


def kept_of_part(fields: Mapping[str, Any], *, thumbnails: bool) -> int:
    """Bytes of a part's record with these fields, once it has all results."""
    of_pending = _KEPT_RESULT + (_THUMBNAIL if thumbnails else 0)
    return _KEPT_PART + sum(_sizes(fields)) + int(fields["pending"]) * of_pending


def _sizes(fields: Mapping[str, Any]) -> Iterator[int]:
    """Bytes of each text."""
    for value in fields.values():
        if isinstance(value, str | bytes):
            yield len(value.encode() if isinstance(value, str) else value)
