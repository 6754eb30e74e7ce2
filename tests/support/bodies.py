"""Request bodies for tests."""

from __future__ import annotations

import io

JPEG = b"\xff\xd8\xff\xe0 not a whole picture"


class Unreadable(io.BytesIO):
    """A body that must not be read."""

    def read(self, *_: object) -> bytes:
        raise AssertionError("the body was read")

    readline = readinto = read  # type: ignore[assignment]
