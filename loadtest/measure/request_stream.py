"""What is asked for, and how often: requests of one kind, built before they are due."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

_BOUNDARY = "a-boundary-that-no-picture-holds"


class Request(NamedTuple):
    numbers: tuple[int, ...]  #: Of the pictures in it.
    pieces: list[bytes]  #: Its bytes on the wire; joining them would copy every picture.


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A closed loop of `clients`, or an open one of `rate` requests a second.

    In a closed loop each client asks again as soon as it was answered. In an open one requests
    come at random moments whoever still waits, as they do from many people who do not know of
    each other: a service that falls behind is not spared.
    """

    kind: str
    path: str
    clients: int = 0
    rate: float = 0.0
    most: int = 0  #: Requests in all of a closed loop, however long they take; 0: no end but time.
    images: int = 1  #: In each request.
    form: str = ""  #: Field of a multipart form; without one the picture is the body.
    repeats: bool = False  #: The same bytes each time, so that a cache may answer.

    def requests(self, host: str, pictures: Sequence[bytes]) -> Iterator[Request]:
        """Without end. No two pictures have the same bytes, unless the stream repeats."""
        own = uuid.uuid4().hex
        at = count()
        while True:
            picked = [next(at) for _ in range(self.images)]
            if self.repeats:
                picked = [0] * self.images
            numbers = tuple(each % len(pictures) for each in picked)
            tails = [f"{own}{each}".encode() for each in picked]  # a decoder stops before it
            body = self._body([(pictures[n], tail) for n, tail in zip(numbers, tails, strict=True)])
            yield Request(numbers, [self._head(host, sum(map(len, body))), *body])

    def _head(self, host: str, length: int) -> bytes:
        kind = "application/octet-stream"
        if self.form:
            kind = f"multipart/form-data; boundary={_BOUNDARY}"
        lines = [f"POST {self.path} HTTP/1.1", f"Host: {host}"]
        lines += [f"Content-Type: {kind}", f"Content-Length: {length}"]
        return "\r\n".join([*lines, "", ""]).encode()

    def _body(self, pictures: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        if not self.form:
            return [piece for picture in pictures for piece in picture]
        pieces: list[bytes] = []
        for number, (picture, tail) in enumerate(pictures):
            name = f'name="{self.form}"; filename="{number}.jpg"'
            head = f"--{_BOUNDARY}\r\nContent-Disposition: form-data; {name}\r\n"
            pieces += [f"{head}Content-Type: image/jpeg\r\n\r\n".encode(), picture, tail, b"\r\n"]
        return [*pieces, f"--{_BOUNDARY}--\r\n".encode()]


#: One picture, waited for.
CLASSIFY = Stream(kind="classify", path="/api/v1/classify?top_k=1")
#: A part's worth of pictures, accepted and not waited for.
BULK = Stream(kind="bulk", path="/jobs?lane=bulk", images=32, form="files")
