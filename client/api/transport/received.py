"""The body of an answer, which is kept in memory. So only so many bytes of it are read."""

from __future__ import annotations

import httpx

from ...errors import WrongAnswer
from ...text import address_of

#: The longest body, unpacked. A page of 1,000 results with 1,000 labels each has 100 MB.
LONGEST_BODY = 2**28

#: Headers that say how a body was sent. They are wrong for one that is unpacked.
_OF_THE_TRANSFER = ("Content-Encoding", "Content-Length", "Transfer-Encoding")


class Received:
    """An answer whose body comes in pieces."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._body = bytearray()

    def add(self, piece: bytes) -> None:
        """Raises WrongAnswer if there are too many bytes."""
        self._body += piece
        if len(self._body) > LONGEST_BODY:
            too_long = ValueError(f"more than {LONGEST_BODY} bytes")
            raise WrongAnswer(address_of(self._response.request.url), too_long)

    def whole(self) -> httpx.Response:
        """The answer with its body."""
        headers = self._response.headers.copy()
        for name in _OF_THE_TRANSFER:
            headers.pop(name, None)
        return httpx.Response(
            self._response.status_code,
            headers=headers,
            content=bytes(self._body),
            request=self._response.request,
            extensions=self._response.extensions,
        )
