"""The formats of pictures that the service reads: the one list for web, workers, page and client.

`client/` cannot import this module, so it has the endings again. A test compares.
"""

from __future__ import annotations

from dataclasses import dataclass

#: First bytes of a file that tell its format.
HEAD_BYTES = 64


@dataclass(frozen=True, kw_only=True)
class Format:
    name: str  #: As people write it.
    endings: tuple[str, ...]  #: Of file names, in lower case. The content decides, not the name.
    signatures: tuple[bytes, ...] = ()  #: A file begins with one of them.
    #: Brands of a container of boxes, which begins with a box `ftyp`. A file has one of them.
    brands: tuple[bytes, ...] = ()
    #: The Python package that a worker needs. Workers without it refuse the format.
    package: str | None = None

    def matches(self, head: bytes) -> bool:
        """Whether a file that begins with `head` has this format."""
        return head.startswith(self.signatures) or any(b in self.brands for b in _brands(head))


JPEG = Format(
    name="JPEG",
    endings=(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    signatures=(b"\xff\xd8\xff",),
)
PNG = Format(
    name="PNG",
    endings=(".png", ".apng"),
    signatures=(b"\x89PNG\r\n\x1a\n",),
)
WEBP = Format(name="WebP", endings=(".webp",), brands=(b"WEBP",))
GIF = Format(name="GIF", endings=(".gif",), signatures=(b"GIF87a", b"GIF89a"))
BMP = Format(name="BMP", endings=(".bmp", ".dib"), signatures=(b"BM",))
AVIF = Format(
    name="AVIF",
    endings=(".avif", ".avifs"),
    brands=(b"avif", b"avis"),
)
HEIC = Format(
    name="HEIC",
    endings=(".heic", ".heif", ".hif"),
    brands=(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"),
    package="pillow_heif",
)
#: By their embedded preview. Many other RAW files are TIFF files; a worker tells them apart.
RAW = Format(
    name="RAW",
    endings=(
        *(".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"),
    ),
    signatures=(
        b"II*\0\x10\0\0\0CR",  # Canon CR2
        *(b"IIRO", b"IIRS", b"MMOR"),  # Olympus
        b"IIU\0",  # Panasonic
        b"FUJIFILMCCD-RAW",
    ),
    brands=(b"crx ",),  # Canon CR3
    package="rawpy",
)
TIFF = Format(
    name="TIFF",
    endings=(".tif", ".tiff"),
    signatures=(b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0"),  # The last one is BigTIFF.
)

#: Some RAW files begin as a TIFF does, so RAW comes first.
FORMATS = (JPEG, PNG, WEBP, GIF, BMP, AVIF, HEIC, RAW, TIFF)

#: Endings of file names, with the dot.
ENDINGS = tuple(ending for each in FORMATS for ending in each.endings)


def recognised(head: bytes) -> Format | None:
    """The format of a file that begins with `head`; None if the service does not read it."""
    return next((each for each in FORMATS if each.matches(head)), None)


def _brands(head: bytes) -> list[bytes]:
    """The brands of a container: its own one first, then the compatible ones."""
    if head[:4] == b"RIFF":
        return [head[8:12]]
    if head[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return [head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))]
