"""The forms in which a caller may have a picture."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, Protocol

from ..errors import UsageError
from ..regular_file import RegularFile
from ..text import path_text

#: The name of a picture that has none.
_NAME = "picture"

#: Bytes of the largest picture that is read. No service takes one of so many.
MOST_BYTES = 2**28

#: Modes of PIL images that PNG can carry. Others are converted to RGB.
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")


class PilImage(Protocol):
    """What the client uses of a `PIL.Image.Image`. Pillow need not be installed."""

    mode: Any

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None: ...
    def convert(self, mode: Any) -> PilImage: ...
    def getexif(self) -> Any: ...


#: A path, the bytes of a picture, a file that is open in binary mode, or an image of Pillow.
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | PilImage


def read(picture: Source) -> tuple[str, bytes]:
    """The name and the bytes of a picture. Raises TypeError for anything else.

    Raises OSError if it cannot be read or has more than MOST_BYTES. A device may have no end.
    """
    if isinstance(picture, bytes | bytearray | memoryview):
        return _NAME, bytes(picture)
    if isinstance(picture, str | os.PathLike):
        path = Path(picture)
        with RegularFile(path) as file:
            return path_text(path.name), _whole(file)
    if hasattr(picture, "read"):
        return _name_of(picture, "name"), _whole(picture)
    if hasattr(picture, "save") and hasattr(picture, "getexif"):
        return _name_of(picture, "filename"), _png(picture)
    raise TypeError(f"{type(picture).__name__} is no path, bytes, file or image of Pillow.")


def several(pictures: Iterable[Source]) -> list[Source]:
    """The pictures of a job. Raises TypeError for a single one, and UsageError for none.

    A text, bytes and a file can be iterated too, but what they give are no pictures.
    """
    one = (str, os.PathLike, bytes, bytearray, memoryview)
    if isinstance(pictures, one) or hasattr(pictures, "read") or hasattr(pictures, "getexif"):
        raise TypeError("`submit` takes a list. Write submit([picture]), or call `classify`.")
    found = list(pictures)
    if not found:
        raise UsageError("There are no pictures to submit. Give at least one.")
    return found


def is_path(picture: Source) -> bool:
    return isinstance(picture, str | os.PathLike)


def too_large(path: Path | None = None) -> OSError:
    """The error of a picture that has more than MOST_BYTES."""
    return OSError(errno.EFBIG, os.strerror(errno.EFBIG), path and str(path))


def _whole(file: Any) -> bytes:
    data = bytearray()
    while piece := file.read(MOST_BYTES + 1 - len(data)):
        if not isinstance(piece, bytes):
            raise TypeError("The file gives text. Open it in binary mode.")
        data += piece
        if len(data) > MOST_BYTES:
            raise too_large()
    return bytes(data)


def _png(image: PilImage) -> bytes:
    """The image without loss. Its EXIF data say how it is turned, so the service gets them too."""
    exif = image.getexif()
    data = io.BytesIO()
    image = image if image.mode in _MODES else image.convert("RGB")
    image.save(data, format="PNG", compress_level=1, exif=exif)
    return data.getvalue()


def _name_of(picture: object, attribute: str) -> str:
    name = getattr(picture, attribute, "")
    # The name of a pipe is a number, and that of standard input is `<stdin>`.
    is_file = isinstance(name, str) and name and not name.startswith("<")
    return path_text(os.path.basename(name)) if is_file else _NAME
