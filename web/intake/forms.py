"""Forms whose file names are in any encoding, and which other clients do not wait for."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from werkzeug import formparser
from werkzeug.datastructures import Headers
from werkzeug.sansio.multipart import Event, Field, File, MultipartDecoder

from shared.errors import InvalidRequest
from web.server.fairness.pacing import Queue

#: The heads of parts are parsed in steps of about two milliseconds, one step of one form in each
#: round of the event loop. A form of a few hundred kilobytes may have 500 files, or thousands of
#: parameters, and a client may send a hundred such forms at once.
_steps = Queue()

#: What a step parses: heads, each counted with so many bytes more than it has.
_STEP_BYTES = 8 * 2**10
_HEAD_BYTES = 512

#: Bytes of the head of one part. It is parsed at once, and one of 480 KB takes 150 ms.
_LONGEST_HEAD = 2**14


#: Headers of a part that something reads after its name is known.
_USED = ("Content-Type", "Content-Length")

#: Characters of a name, and of a file name. Those that are kept in the end have fewer.
_LONGEST_NAME = 2**10


class Boundary:
    """Finds the boundary of a form as its pattern does, in half of the time.

    A regular expression tries every byte of a picture. A match can only be where the text of the
    boundary is, after a line end of one or two bytes.
    """

    _LONGEST_LINE_END = 2

    def __init__(self, boundary: bytes, pattern: re.Pattern[bytes]) -> None:
        self._text = b"--" + boundary
        self._pattern = pattern

    def search(self, data: bytes | bytearray) -> re.Match[bytes] | None:
        at = data.find(self._text)
        if at < 0:
            return None
        return self._pattern.search(data, max(0, at - self._LONGEST_LINE_END))


class _Decoder(MultipartDecoder):
    """Reads headers that are not UTF-8, with U+FFFD for each byte that cannot be decoded.

    Raises InvalidRequest for the head of a part that is too long.
    """

    _parsed = 0  #: Bytes since the last wait.

    def __init__(self, boundary: bytes, *limits: Any, **more: Any) -> None:
        super().__init__(boundary, *limits, **more)
        self.boundary_re = Boundary(boundary, self.boundary_re)  # type: ignore[assignment]

    def _parse_headers(self, data: bytes | bytearray) -> Headers:
        if len(data) > _LONGEST_HEAD:
            raise InvalidRequest(
                f"The head of a part of the form has more than {_LONGEST_HEAD} bytes."
            )
        self._parsed += len(data) + _HEAD_BYTES
        if self._parsed > _STEP_BYTES:
            self._parsed = 0
            _steps.wait()
        return super()._parse_headers(data.decode(errors="replace").encode())

    def next_event(self) -> Event:
        """A part with little more than is used of it, because parts stay in memory.

        16 KB of short lines take 800 KB as headers. A part without a name has an empty one.
        werkzeug's is None, although it says str.
        """
        event = super().next_event()
        if isinstance(event, (Field, File)):
            name = (event.name or "")[:_LONGEST_NAME]
            headers = Headers((key, event.headers[key]) for key in _USED if key in event.headers)
            event = replace(event, name=name, headers=headers)
        if isinstance(event, File):
            return replace(event, filename=event.filename[-_LONGEST_NAME:])
        return event


def accept_any_name() -> None:
    """Let werkzeug read forms with this decoder.

    Its own decoder fails at the first name that is not UTF-8, and the form seems to be empty then.
    werkzeug has no setting for the decoder, so its class is replaced.
    """
    formparser.MultipartDecoder = _Decoder  # type: ignore[attr-defined]
