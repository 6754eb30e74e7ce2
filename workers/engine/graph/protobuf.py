"""Writes fields in protobuf's format, enough for an ONNX file."""

from __future__ import annotations

#: The types of elements in onnx.proto.
FLOAT, UINT8 = 1, 2


def field(number: int, content: bytes) -> bytes:
    """A field with a length: text, bytes, or a message."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def integer(number: int, value: int) -> bytes:
    """A field with an integer that is not negative."""
    return _varint(number << 3) + _varint(value)


def value_info(name: str, kind: int, shape: list[str | int]) -> bytes:
    """An input or output of a graph. A size that is a name may be any number."""
    sizes = [integer(1, n) if isinstance(n, int) else field(2, n.encode()) for n in shape]
    dimensions = b"".join(field(1, each) for each in sizes)
    tensor_type = field(1, integer(1, kind) + field(2, dimensions))
    return field(1, name.encode()) + field(2, tensor_type)


def _varint(value: int) -> bytes:
    """Seven bits in each byte, the lowest first. The top bit says that more bytes follow."""
    pieces = bytearray()
    while value > 0x7F:
        pieces.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*pieces, value])
