"""Embeddings as the service sends them: float16 numbers, little-endian, as base64."""

from __future__ import annotations

import base64
import struct
from functools import cache


def decoded(text: str) -> tuple[float, ...]:
    """The numbers of an embedding, with as many digits as float16 needs to be exact."""
    data = base64.b64decode(text)
    numbers = _numbers()
    return tuple(numbers[bits] for bits in struct.unpack(f"<{len(data) // 2}H", data))


@cache
def _numbers() -> tuple[float, ...]:
    """Each of the 65,536 numbers of float16, by its bits."""
    every = struct.unpack("<65536e", struct.pack("<65536H", *range(65536)))
    return tuple(float(f"{number:.5g}") for number in every)
