"""Camera RAW pictures, by the preview that the camera puts into the file.

A preview is a JPEG, mostly of the full size. Developing the sensor's values would take seconds.
"""

from __future__ import annotations

import io

from PIL import Image, TiffImagePlugin

from shared.errors import DecodeFailed, TruncatedImage

_ORIENTATION, _MAKE, _REDUCED, _INNER, _DNG_VERSION = 274, 271, 254, 330, 50706

#: The orientation as EXIF has it, by the number of LibRaw.
_FLIPS = {3: 3, 5: 8, 6: 6}


def is_raw(tags: TiffImagePlugin.ImageFileDirectory_v2) -> bool:
    """Whether a TIFF is the RAW file of a camera. Its first picture is then a thumbnail."""
    return _DNG_VERSION in tags or (_INNER in tags and _MAKE in tags and tags.get(_REDUCED) == 1)


def preview(data: bytes) -> tuple[bytes, int]:
    """The preview as a file, and its orientation as a number of EXIF.

    Raises DecodeFailed if there is none, and TruncatedImage if a part of it is missing.
    """
    import rawpy

    try:
        with rawpy.imread(io.BytesIO(data)) as file:
            thumbnail = file.extract_thumb()
            orientation = _FLIPS.get(file.sizes.flip, 1)
    except rawpy.LibRawError as error:
        raise DecodeFailed(
            "The camera RAW picture has no preview that can be read. Send a JPEG of it."
        ) from error
    if isinstance(thumbnail.data, bytes):
        _check_complete(thumbnail.data, data)
        return thumbnail.data, orientation
    _check_complete(thumbnail.data.tobytes(), data)
    file_of_pixels = io.BytesIO()
    Image.fromarray(thumbnail.data).save(file_of_pixels, "BMP")
    return file_of_pixels.getvalue(), orientation


def _check_complete(found: bytes, data: bytes) -> None:
    """Where a file ends too early, LibRaw fills the preview with what its memory held before.

    That may be a part of another picture. So all bytes of a preview must be bytes of the file, but
    for the EXIF segment that LibRaw puts in front of a JPEG.
    """
    own = found
    if found[2:4] == b"\xff\xe1" and found not in data:
        own = found[4 + int.from_bytes(found[4:6]) :]
    if own not in data:
        raise TruncatedImage


def set_orientation(image: Image.Image, orientation: int) -> None:
    """Many previews do not state how the camera was held. The RAW file does."""
    exif = image.getexif()
    if _ORIENTATION not in exif:
        exif[_ORIENTATION] = orientation
