"""What Pillow raises for damaged files."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

#: Everything that Pillow's decoders are known to raise for damaged files. `Exception` would also
#: catch the pool's soft time limit and blame the picture for it.
DECODER_ERRORS = (
    Image.DecompressionBombError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    SystemError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

#: Part of Pillow's message when a decoder written in C gets no memory.
_OUT_OF_MEMORY = "decoder error -9"


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or _OUT_OF_MEMORY in str(error)


def is_truncated(data: bytes, error: BaseException) -> bool:
    """Pillow only mentions it in its message, and for a WebP not even there."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    return "truncated" in str(error).lower()
