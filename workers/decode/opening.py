"""Recognises a picture by its content and opens it, without decoding its pixels."""

from __future__ import annotations

import io
from importlib.util import find_spec

from PIL import AvifImagePlugin, Image, ImageFile, TiffImagePlugin

from shared import formats
from shared.errors import UnsupportedFormat
from shared.formats import HEAD_BYTES, Format, recognised
from workers.decode import raw
from workers.decode.damage import DECODER_ERRORS
from workers.decode.png import without_metadata

#: Pillow's name of each format. JPEG includes MPO, which some phones write.
_PLUGINS = {
    formats.JPEG: "JPEG",
    formats.PNG: "PNG",
    formats.WEBP: "WEBP",
    formats.GIF: "GIF",
    formats.BMP: "BMP",
    formats.AVIF: "AVIF",
    formats.HEIC: "HEIF",
    formats.TIFF: "TIFF",
}


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


#: Packages that are missing here; their formats are refused.
_MISSING = {
    each.package for each in formats.FORMATS if each.package and not _is_installed(each.package)
}

# One thread, because the limit on processor time is for one, and each thread needs a stack.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
if formats.HEIC.package not in _MISSING:
    import pillow_heif

    pillow_heif.register_heif_opener(
        decode_threads=1, thumbnails=False, depth_images=False, aux_images=False
    )


def open_picture(data: bytes) -> ImageFile.ImageFile:
    """The picture, or the preview of a camera RAW file.

    Raises UnsupportedFormat, and the errors of Pillow for damaged files.
    """
    form = recognised(data[:HEAD_BYTES])
    if form is None:
        raise UnsupportedFormat
    if form == formats.RAW:
        return _open_preview(data)
    if form.package in _MISSING:
        raise _not_installed(form)
    try:
        image = _open(without_metadata(data) if form == formats.PNG else data, form)
    except DECODER_ERRORS:
        if form != formats.TIFF or not _reads_raw():
            raise
        return _open_preview(data)  # Pillow cannot read the TIFF of some cameras.
    if isinstance(image, TiffImagePlugin.TiffImageFile) and raw.is_raw(image.tag_v2):
        return _open_preview(data)
    return image


def _open(data: bytes, form: Format) -> ImageFile.ImageFile:
    if form != formats.JPEG:
        return Image.open(io.BytesIO(data), formats=[_PLUGINS[form]])
    # Pillow would refuse a JPEG by the size in its header, but it is decoded at a part of that.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return Image.open(io.BytesIO(data), formats=[_PLUGINS[form]])
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _open_preview(data: bytes) -> ImageFile.ImageFile:
    if not _reads_raw():
        raise _not_installed(formats.RAW)
    preview, orientation = raw.preview(data)
    image = _open(preview, recognised(preview[:HEAD_BYTES]) or formats.JPEG)
    raw.set_orientation(image, orientation)
    return image


def _reads_raw() -> bool:
    return formats.RAW.package not in _MISSING


def _not_installed(form: Format) -> UnsupportedFormat:
    return UnsupportedFormat(
        f"This service does not read {form.name} pictures. Send a JPEG, or have the operator"
        f" install {form.package} for the workers."
    )
