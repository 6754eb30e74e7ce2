"""A form with files, as the pieces of a request's body: the pictures are never copied."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

#: Field name, file name, bytes.
File = tuple[str, str, bytes]


class Form:
    def __init__(self, files: Sequence[File], fields: Mapping[str, str] | None = None) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        lead = f"--{boundary}\r\nContent-Disposition: form-data; name="
        between = b""
        self.pieces: list[bytes] = []
        for name, value in (fields or {}).items():
            between += f'{lead}"{name}"\r\n\r\n{value}\r\n'.encode()
        for name, file_name, data in files:
            head = f'{lead}"{name}"; filename="{_quoted(file_name)}"\r\n'
            kind = "Content-Type: application/octet-stream\r\n\r\n"
            self.pieces += [between + (head + kind).encode(), data]
            between = b"\r\n"
        self.pieces.append(between + f"--{boundary}--\r\n".encode())

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Content-Type": self.content_type,
            "Content-Length": str(sum(map(len, self.pieces))),
        }


def _quoted(name: str) -> str:
    """As browsers do: a quote or a line's end would end the header."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
