"""Forms whose file names are in any encoding, and which other clients do not wait for."""

from __future__ import annotations

from werkzeug import formparser
from werkzeug.datastructures import Headers
from werkzeug.sansio.multipart import MultipartDecoder

from web.server.pacing import Queue

#: The heads of parts are parsed in steps of about two milliseconds, one step of one form in each
#: round of the event loop. A form of a few hundred kilobytes may have 500 files, or thousands of
#: parameters, and a client may send a hundred such forms at once.
_steps = Queue()

#: What a step parses: heads, each counted with so many bytes more than it has.
_STEP_BYTES = 8 * 2**10
_HEAD_BYTES = 512


class _Decoder(MultipartDecoder):
    """Reads headers that are not UTF-8, with U+FFFD for each byte that cannot be decoded."""

    _parsed = 0  #: Bytes since the last wait.

    def _parse_headers(self, data: bytes | bytearray) -> Headers:
        self._parsed += len(data) + _HEAD_BYTES
        if self._parsed > _STEP_BYTES:
            self._parsed = 0
            _steps.wait()
        return super()._parse_headers(data.decode(errors="replace").encode())


def accept_any_name() -> None:
    """Let werkzeug read forms with this decoder.

    Its own decoder fails at the first name that is not UTF-8, and the form seems to be empty then.
    werkzeug has no setting for the decoder, so its class is replaced.
    """
    formparser.MultipartDecoder = _Decoder  # type: ignore[attr-defined]
