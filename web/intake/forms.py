"""Forms whose file names are in any encoding, and which other clients do not wait for."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from werkzeug import formparser
from werkzeug.datastructures import Headers
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Event, Field, File, MultipartDecoder

from shared.errors import InvalidRequest, RequestTooLarge
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


_LINE_END = rb"(?:\r\n|\n|\r)"


class Boundary:
    """Finds the boundary of a form as werkzeug's pattern does, in a fraction of the time.

    That pattern begins with a line end, so it is tried at every byte of a picture. This one begins
    with the text of the boundary, which Python looks for as for any text.
    """

    def __init__(self, boundary: bytes) -> None:
        text = re.escape(b"--" + boundary)
        after = rb"(--[^\S\n\r]*%s?|[^\S\n\r]*%s)" % (_LINE_END, _LINE_END)
        self._pattern = re.compile(rb"%s(?<=[\r\n]%s)%s" % (text, text, after))

    def search(self, data: bytes | bytearray) -> Found | None:
        match = self._pattern.search(data)
        return match and Found(match)


class Found:
    """A match that begins with the line end before the text of the boundary."""

    def __init__(self, match: re.Match[bytes]) -> None:
        self._match = match
        self.group, self.end = match.group, match.end

    def start(self) -> int:
        at = self._match.start()
        return at - (2 if self._match.string[at - 2 : at] == b"\r\n" else 1)


class _Decoder(MultipartDecoder):
    """Reads headers that are not UTF-8, with U+FFFD for each byte that cannot be decoded.

    Raises InvalidRequest for the head of a part that is too long, and RequestTooLarge if there are
    too many parts or the text fields are too long together. werkzeug limits each field, and keeps
    all of them in memory.
    """

    _parsed = 0  #: Bytes since the last wait.
    _in_text = False

    def __init__(self, boundary: bytes, *limits: Any, **more: Any) -> None:
        super().__init__(boundary, *limits, **more)
        self.boundary_re = Boundary(boundary)  # type: ignore[assignment]
        self._text_bytes = 0

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
        event = self._next_event()
        if isinstance(event, Data) and self._in_text:
            self._count_text(len(event.data))
        if isinstance(event, (Field, File)):
            self._in_text = isinstance(event, Field)
            name = (event.name or "")[:_LONGEST_NAME]
            headers = Headers((key, event.headers[key]) for key in _USED if key in event.headers)
            event = replace(event, name=name, headers=headers)
        if isinstance(event, File):
            return replace(event, filename=event.filename[-_LONGEST_NAME:])
        return event

    def _next_event(self) -> Event:
        try:
            return super().next_event()
        except RequestEntityTooLarge as error:
            raise RequestTooLarge(
                f"The form has more than {self.max_parts} files and fields."
                " Send fewer in one request."
            ) from error

    def _count_text(self, size: int) -> None:
        self._text_bytes += size
        most = self.max_form_memory_size
        if most is not None and self._text_bytes > most:
            raise RequestTooLarge(f"The text fields of a form may have {most} bytes together.")


def accept_any_name() -> None:
    """Let werkzeug read forms with this decoder.

    Its own decoder fails at the first name that is not UTF-8, and the form seems to be empty then.
    werkzeug has no setting for the decoder, so its class is replaced.
    """
    formparser.MultipartDecoder = _Decoder  # type: ignore[attr-defined]
