"""Pictures as from a camera, made from a folder of smaller ones: 12 megapixels, 2 to 5 MB each.

They are made once and kept in DATA_DIR, which takes about two seconds for each.
"""

from __future__ import annotations

import hashlib
import io
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from shared.settings import Settings

_MOST = 40
_SIZE = 4000, 3000
_QUALITY = 90

#: Standard deviation of the noise, from 0 to 255, by the number of the photo. It sets the bytes.
_NOISE = (3.0, 4.5, 6.0, 8.0)

#: The orientation tag, by the number of the photo. 6 and 8 are a camera held upright.
_ORIENTATIONS = (1, 6, 1, 8)

#: How the pixels of an upright picture are stored for each orientation tag.
_STORED = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}

_THUMBNAIL = 160, 120

#: Increase it when the same pictures would give other photos.
_VERSION = 1


def photos(folder: Path, *, most: int = _MOST) -> list[bytes]:
    """The photos of the first `most` JPEGs of a folder, in the order of their names."""
    paths = sorted(folder.glob("*.[jJ][pP]*[gG]"))[:most]
    if not paths:
        raise SystemExit(f"There are no JPEG pictures in {folder}.")
    kept = Settings().data_dir / "photos"
    kept.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as processes:
        return list(processes.map(partial(_photo, kept), paths, range(len(paths))))


def _photo(kept: Path, path: Path, number: int) -> bytes:
    picture = path.read_bytes()
    recipe = f"{_VERSION} {number} ".encode()
    photo = kept / f"{hashlib.sha256(recipe + picture).hexdigest()[:32]}.jpg"
    if not photo.exists():
        unfinished = photo.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(make_photo(picture, number))
        unfinished.rename(photo)
    return photo.read_bytes()


def make_photo(picture: bytes, number: int) -> bytes:
    """A JPEG of 12 megapixels with EXIF and a thumbnail. `number` chooses noise and orientation."""
    orientation = _ORIENTATIONS[number % len(_ORIENTATIONS)]
    with Image.open(io.BytesIO(picture)) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    size = _SIZE if orientation == 1 else _SIZE[::-1]
    upright = ImageOps.fit(upright, size, Image.Resampling.BICUBIC)
    if orientation in _STORED:
        upright = upright.transpose(_STORED[orientation])
    file = io.BytesIO()
    grained = _grained(upright, number)
    grained.save(file, "JPEG", quality=_QUALITY, exif=_exif(grained, orientation))
    return file.getvalue()


def _grained(picture: Image.Image, number: int) -> Image.Image:
    """The picture with the noise of a sensor: the same in all colours."""
    pixels = np.asarray(picture)
    chance = np.random.default_rng(number)
    noise = chance.normal(0, _NOISE[number % len(_NOISE)], pixels.shape[:2]).astype(np.int16)
    return Image.fromarray(np.clip(pixels + noise[..., None], 0, 255).astype(np.uint8))


def _exif(picture: Image.Image, orientation: int) -> bytes:
    """EXIF with a thumbnail, which Pillow cannot write by itself."""
    small = picture.copy()
    small.thumbnail(_THUMBNAIL)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=75)
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "image-classifier"
    exif[ExifTags.Base.Orientation] = orientation
    return _with_thumbnail(exif.tobytes(), file.getvalue())


def _with_thumbnail(exif: bytes, thumbnail: bytes) -> bytes:
    """Append a second directory of tags, which names the thumbnail behind it."""
    head, tiff = exif[:6], bytearray(exif[6:])
    order = "little" if tiff[:2] == b"II" else "big"
    first = int.from_bytes(tiff[4:8], order)  # type: ignore[arg-type]
    entries = int.from_bytes(tiff[first : first + 2], order)  # type: ignore[arg-type]

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, order)  # type: ignore[arg-type]

    def tag(name: int, value: int) -> bytes:
        return number(name, 2) + number(4, 2) + number(1, 4) + number(value, 4)

    tiff += b"\0" * (len(tiff) % 2)
    second = len(tiff)
    link = first + 2 + 12 * entries
    tiff[link : link + 4] = number(second, 4)
    tags = tag(ExifTags.Base.JpegIFOffset, second + 2 + 2 * 12 + 4)
    tags += tag(ExifTags.Base.JpegIFByteCount, len(thumbnail))
    return head + bytes(tiff) + number(2, 2) + tags + number(0, 4) + thumbnail
