"""Forms whose file names are in any encoding."""

from __future__ import annotations

from werkzeug import formparser
from werkzeug.datastructures import Headers
from werkzeug.sansio.multipart import MultipartDecoder


class _Decoder(MultipartDecoder):
    """Reads headers that are not UTF-8, with U+FFFD for each byte that cannot be decoded."""

    def _parse_headers(self, data: bytes | bytearray) -> Headers:
        return super()._parse_headers(data.decode(errors="replace").encode())


def accept_any_name() -> None:
    """Let werkzeug read forms with this decoder.

    Its own decoder fails at the first name that is not UTF-8, and the form seems to be empty then.
    werkzeug has no setting for the decoder, so its class is replaced.
    """
    formparser.MultipartDecoder = _Decoder  # type: ignore[attr-defined]
