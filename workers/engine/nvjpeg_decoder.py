"""Plain JPEGs, decoded by nvJPEG and resized on a CUDA card, many at once. Others are Pillow's.

nvJPEG knows no limit on time and says little of what it cannot read, so it gets only what is known
to be harmless. It rounds otherwise than Pillow does: its pixels are part of the model's version.

The squares come back, 150 kB each, and go to the card again with their batch: neither engine nor
task needs to know where a picture was decoded.

The tests do all of this on a CPU, with Pillow in nvJPEG's place. None of it has been run on a card.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from shared.errors import ModelError
from shared.portions import portions
from workers.decode.decoder import Decoded, Decoder
from workers.decode.preprocessing import DECODER_ERRORS, Preset, opened, orientation, resized

logger = logging.getLogger(__name__)

#: Of one picture, and of those that are decoded at once: 3 bytes each, and 12 of the one that is
#: being resized. All pool processes share a card's memory.
_MOST_PIXELS = 2**24
_PIXELS_AT_ONCE = 2**26

#: Long by short side. The longer side grows with the shorter: of 10000 x 1 pixels it would be
#: 2560000 x 256, where Pillow makes only what is kept.
_LONGEST = 4

#: A camera's fit into one segment. Pillow puts all that a file has together, and reads every entry.
_EXIF_BYTES = 2**16

_END_OF_IMAGE = b"\xff\xd9"

#: By EXIF orientation: whether rows and columns change places, and what is mirrored then.
_TURNS: dict[int, tuple[bool, tuple[int, ...]]] = {
    2: (False, (2,)),
    3: (False, (1, 2)),
    4: (False, (1,)),
    5: (True, ()),
    6: (True, (2,)),
    7: (True, (1, 2)),
    8: (True, (1,)),
}

#: Files as tensors of bytes on the CPU; RGB of shape (3, height, width) on a device.
Nvjpeg = Callable[[list[torch.Tensor]], list[torch.Tensor]]


class _Jpeg(NamedTuple):
    place: int  #: Among the pictures of the run.
    data: bytes
    pixels: int
    orientation: int


def _on_card(files: list[torch.Tensor]) -> list[torch.Tensor]:
    # Not above: beside a torch for CPUs it does not load.
    from torchvision.io import ImageReadMode, decode_jpeg

    decoded: list[torch.Tensor] = decode_jpeg(files, mode=ImageReadMode.RGB, device="cuda")
    return decoded


class NvjpegDecoder:
    def __init__(
        self, preset: Preset, pillow: Decoder, *, max_pixels: int, nvjpeg: Nvjpeg = _on_card
    ) -> None:
        """`pillow` gets what the card does not, and refuses what has more than `max_pixels`.

        Raises ModelError where the model wants its pictures resized as the card cannot.
        """
        if preset.interpolation == "nearest":
            raise ModelError("JPEG_DECODER=nvjpeg: the card resizes bilinear and bicubic only")
        self._preset = preset
        self._pillow = pillow
        self._max_pixels = min(max_pixels, _MOST_PIXELS)
        self._nvjpeg = nvjpeg

    def decode(self, pictures: Sequence[bytes]) -> list[Decoded]:
        done: dict[int, Decoded] = {}
        for jpegs in portions(
            self._plain(pictures), size=lambda each: each.pixels, most=_PIXELS_AT_ONCE
        ):
            started = time.perf_counter()
            squares = self._squares(jpegs)
            each_ms = 1000 * (time.perf_counter() - started) / len(jpegs)
            done |= {place: Decoded(square, each_ms) for place, square in squares.items()}
        left = [place for place in range(len(pictures)) if place not in done]
        done |= zip(left, self._pillow.decode([pictures[place] for place in left]), strict=True)
        return [done[place] for place in range(len(pictures))]

    def _plain(self, pictures: Sequence[bytes]) -> Iterator[_Jpeg]:
        for place, data in enumerate(pictures):
            # Without its end it may be half a picture, which Pillow refuses.
            if data.endswith(_END_OF_IMAGE):
                with suppress(*DECODER_ERRORS), opened(data) as image:
                    if self._is_plain(image):
                        pixels = image.width * image.height
                        yield _Jpeg(place, data, pixels, orientation(image))

    def _is_plain(self, image: Image.Image) -> bool:
        """MPO, CMYK and what says that it is RGB within have colours of their own; a progressive
        one may have a thousand passes.
        """
        return (
            image.format == "JPEG"
            and image.mode in ("L", "RGB")
            and image.info.get("adobe_transform") != 0
            and "progressive" not in image.info
            and image.width * image.height <= self._max_pixels
            and max(image.size) <= _LONGEST * min(image.size)
            and len(image.info.get("exif", b"")) <= _EXIF_BYTES
        )

    def _squares(self, jpegs: list[_Jpeg]) -> dict[int, NDArray[np.uint8]]:
        """By place. One that nvJPEG cannot read is missing, and costs no neighbour."""
        try:
            return self._squares_of_all(jpegs)
        except RuntimeError as error:  # whatever it is, and for whichever: it says no more
            if len(jpegs) > 1:
                return {k: square for each in jpegs for k, square in self._squares([each]).items()}
            logger.warning("nvJPEG could not read a picture: %s", error)
            return {}

    @torch.inference_mode()
    def _squares_of_all(self, jpegs: list[_Jpeg]) -> dict[int, NDArray[np.uint8]]:
        files = [torch.tensor(np.frombuffer(each.data, np.uint8)) for each in jpegs]
        decoded = self._nvjpeg(files)
        squares = [
            self._square(pixels, each.orientation)
            for pixels, each in zip(decoded, jpegs, strict=True)
        ]
        together: NDArray[np.uint8] = torch.stack(squares).cpu().numpy()
        return {each.place: square for each, square in zip(jpegs, together, strict=True)}

    def _square(self, pixels: torch.Tensor, orientation: int) -> torch.Tensor:
        """torchvision's Resize and CenterCrop of what stands upright: (crop, crop, 3), uint8."""
        swap, mirrored = _TURNS.get(orientation, (False, ()))
        upright = (pixels.transpose(1, 2) if swap else pixels).flip(mirrored)
        width, height = resized(upright.shape[2], upright.shape[1], self._preset)
        shrunk = F.interpolate(
            upright[None].float(),
            (height, width),
            mode=self._preset.interpolation,
            antialias=True,
            align_corners=False,
        )
        crop = self._preset.crop_size
        top, left = round((height - crop) / 2), round((width - crop) / 2)
        kept = shrunk[0, :, top : top + crop, left : left + crop]
        return kept.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
