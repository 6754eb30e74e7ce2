"""ICC profiles of displays and cameras, made from their primaries and their gamma."""

from __future__ import annotations

import struct

import numpy as np

#: The x and y of red, green, blue and white, and the gamma.
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.3127, 0.3290), 2.2)
ADOBE_RGB = ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060), (0.3127, 0.3290), 2.19921875)
PROPHOTO = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), (0.3457, 0.3585), 1.8)
SRGB = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), (0.3127, 0.3290), 2.2)

Space = tuple[
    tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float], float
]

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def profile(space: Space, *, more: dict[bytes, bytes] | None = None) -> bytes:
    """A profile of version 2 with a matrix and a gamma, and the tags `more`."""
    *points, gamma = space
    red, green, blue, white = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in points)
    primaries = np.stack([red, green, blue], axis=1)
    primaries = primaries * np.linalg.solve(primaries, white)
    adapted = np.linalg.solve(
        _BRADFORD, np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD @ primaries
    )
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78),
        b"wtpt": _xyz(_D50),
        **{name: _xyz(adapted[:, k]) for k, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))},
        **{name: curve for name in (b"rTRC", b"gTRC", b"bTRC")},
        **(more or {}),
    }
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    size = 128 + len(table) + len(data)
    head = struct.pack(">I4s4s12s12x4s28x", size, b"", b"\x02\x40", b"mntrRGB XYZ ", b"acsp")
    head += struct.pack(">3i", *(round(65_536 * value) for value in _D50))
    return head.ljust(128, b"\0") + table + data


def _xyz(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65_536 * value) for value in values))
