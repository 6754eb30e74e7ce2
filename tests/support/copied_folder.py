"""A folder as it was copied from a phone and from a camera: one picture, stored in ten ways."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import numpy as np
import pillow_heif
from PIL import Image

from tests.workers.decode.dng import dng

pillow_heif.register_heif_opener()

#: Pictures in the folder.
COUNT = 10

#: Files in the folder that are no pictures, by kind. Programs leave others out without a word.
SKIPPED = {".mov": 1, ".txt": 1}

#: What a phone puts behind a JPEG: a film of a second.
_FILM = b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(200_000)
_SIDEWAYS = 6


def enlarged(path: Path) -> Image.Image:
    """A picture of a phone's shape: 1 to 3 megapixels."""
    with Image.open(path) as picture:
        return picture.convert("RGB").resize((3 * picture.width, 3 * picture.height))


def fill(folder: Path, upright: Image.Image) -> None:
    """Write the pictures of a phone and of a camera, and what lies beside them."""
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    exif = _held(_SIDEWAYS)
    gray = np.asarray(upright.convert("L")).astype(">u2") * 257
    big_endian = Image.frombytes("I;16B", upright.size, gray.tobytes())
    files = {
        # HEIC: the container states the orientation, and EXIF states it again.
        "phone/IMG_0001.HEIC": _turned_heic(lying, exif),
        "phone/IMG_0002.HEIC": _encoded(upright, "HEIF", quality=90, thumbnails=[320]),
        "phone/PXL_0003.MP.jpg": _encoded(lying, "JPEG", quality=92, exif=exif) + _FILM,
        "phone/IMG_0004.avif": _encoded(lying, "AVIF", quality=90, speed=10, exif=exif),
        "phone/from-the-web.jfif": _encoded(upright, "JPEG", quality=92),
        "phone/cut.jpg": _encoded(upright, "JPEG", quality=92)[:-2],
        "camera/DSC_0001.DNG": dng(lying, _SIDEWAYS),
        "camera/DSC_0002.MPO": _encoded(
            upright,
            "MPO",
            quality=92,
            save_all=True,
            append_images=[upright.rotate(180)],
        ),
        "camera/DSC_0003.jpe": _encoded(upright.resize((9_504, 6_336)), "JPEG", quality=85),
        "camera/gray.tif": _encoded(big_endian, "TIFF"),
    }
    assert len(files) == COUNT
    others = (
        "phone/IMG_0001.MOV",
        "phone/notes.txt",
        "camera/.DS_Store",
        "camera/Thumbs.db",
    )
    for name, data in {**files, **dict.fromkeys(others, b"x")}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)


class Labels:
    """The labels that a service gives to the picture itself, in colours and in gray."""

    def __init__(self, base_url: str, upright: Image.Image) -> None:
        with httpx.Client(base_url=base_url, timeout=60, trust_env=False) as http:
            self._colours = _label(http, upright)
            self._gray = _label(http, upright.convert("L"))

    def of(self, name: str) -> str:
        """The label of a file of the folder."""
        return self._gray if name.endswith(".tif") else self._colours


def _label(http: httpx.Client, picture: Image.Image) -> str:
    answer = http.post("/api/v1/classify", content=_encoded(picture, "PNG")).json()
    label: str = answer["predictions"][0]["class_name"]
    return label


def _encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.copy().save(buffer, form, **options)
    return buffer.getvalue()


def _turned_heic(lying: Image.Image, exif: Image.Exif) -> bytes:
    """Bytes of EXIF, and no object, make pillow-heif state the orientation in the container."""
    data = _encoded(lying, "HEIF", quality=90, exif=exif.tobytes())
    assert b"irot" in data and b"Exif" in data
    return data


def _held(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif
