"""Requests of one kind and their rate. Each request is built before it is due."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, repeat
from typing import NamedTuple

from client.api.parts import PART_SIZE, RAW_PART
from client.upload.planner import PART_BYTES

#: The kind of the requests of `bulk`.
BULK = "bulk"

_BOUNDARY = "a-boundary-that-no-picture-holds"


class Request(NamedTuple):
    numbers: tuple[int, ...]  #: The numbers of its pictures.
    pieces: list[bytes]  #: Its bytes. Joining them would copy every picture.


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A closed loop of `clients`, or an open loop of `rate` requests per second.

    In a closed loop each client sends the next request after its answer. In an open loop requests
    come at random moments, as from many independent users. They do not wait for answers, so a
    service that is too slow gets more and more requests.
    """

    kind: str
    path: str
    clients: int = 0
    rate: float = 0.0
    most: int = (
        0  #: Most requests of a closed loop, however long they take. 0: only the time ends it.
    )
    images: int = 1  #: Images in each request.
    form: str = ""  #: Field of a multipart form. Without it the picture is the body.
    parts_of: Sequence[str] = ()  #: Open jobs. Each request sends the only part of the next one.

    def requests(self, host: str, pictures: Sequence[bytes]) -> Iterator[Request]:
        """Endless. No two pictures have the same bytes."""
        own = uuid.uuid4().hex
        at = count()
        jobs = [f"PUT {self.path.format(job=job)}" for job in self.parts_of]
        lines = iter(jobs) if jobs else repeat(f"POST {self.path}")
        while True:
            picked = [next(at) for _ in range(self.images)]
            numbers = tuple(each % len(pictures) for each in picked)
            tails = [f"{own}{each}".encode() for each in picked]  # A decoder ignores it.
            body = self._body([(pictures[n], tail) for n, tail in zip(numbers, tails, strict=True)])
            line = next(lines)
            yield Request(numbers, [self._head(line, host, sum(map(len, body))), *body])

    def _head(self, line: str, host: str, length: int) -> bytes:
        kind = RAW_PART if self.parts_of else "application/octet-stream"
        if self.form:
            kind = f"multipart/form-data; boundary={_BOUNDARY}"
        lines = [f"{line} HTTP/1.1", f"Host: {host}"]
        lines += [f"Content-Type: {kind}", f"Content-Length: {length}"]
        return "\r\n".join([*lines, "", ""]).encode()

    def _body(self, pictures: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        if not self.form:
            raw = [piece for picture in pictures for piece in picture]
            return [_entries(pictures), *raw] if self.parts_of else raw
        pieces: list[bytes] = []
        for number, (picture, tail) in enumerate(pictures):
            name = f'name="{self.form}"; filename="{number}.jpg"'
            head = f"--{_BOUNDARY}\r\nContent-Disposition: form-data; {name}\r\n"
            pieces += [f"{head}Content-Type: image/jpeg\r\n\r\n".encode(), picture, tail, b"\r\n"]
        return [*pieces, f"--{_BOUNDARY}--\r\n".encode()]


def _entries(pictures: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The first line of a part."""
    sizes = [sum(map(len, picture)) for picture in pictures]
    entries = [{"name": f"{number}.jpg", "size": size} for number, size in enumerate(sizes)]
    return json.dumps(entries).encode() + b"\n"


#: One picture per request. The client waits for its labels.
CLASSIFY = Stream(kind="classify", path="/api/v1/classify?top_k=1")


def bulk(pictures: Sequence[bytes]) -> Stream:
    """A job per request, as a form of as many pictures as the command sends in a part.

    The client does not wait for the labels.
    """
    size = sum(map(len, pictures)) / len(pictures)
    images = max(1, min(PART_SIZE, int(PART_BYTES / (1.05 * size))))
    return Stream(kind=BULK, path="/jobs?lane=bulk", images=images, form="files")


def parts(stream: Stream, jobs: Sequence[str]) -> Stream:
    """The requests of `bulk` without forms: each is the only part of an open job."""
    return replace(stream, path="/jobs/{job}/parts/0", form="", parts_of=jobs, most=len(jobs))
