"""What a card would be given to decode, and what becomes of it. Pillow stands in for nvJPEG, and
the CPU for the card: neither nvJPEG nor a card has been here.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from shared.errors import ClassifierError, ModelError, TruncatedImage
from shared.settings import Settings
from tests.workers.decode.preset import PRESET
from workers import engine as engines
from workers.decode.limits import DecodeLimits
from workers.decode.decoder import Decoded, PillowDecoder
from workers.engine import load_decoder, load_engine, nvjpeg_decoder, resolve_engine
from workers.engine.nvjpeg_decoder import NvjpegDecoder

LIMITS = DecodeLimits(pixels=50_000_000, cpu_seconds=10, memory_bytes=2**30)


class Recorder:
    """A decoder that remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[bytes] = []
        self._pillow = PillowDecoder(PRESET, LIMITS)

    def decode(self, pictures: Sequence[bytes]) -> list[Decoded]:
        self.given += pictures
        return self._pillow.decode(pictures)


class StandIn:
    """In nvJPEG's place: one that it cannot read is an error of all, as nvJPEG's is."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, files: list[torch.Tensor]) -> list[torch.Tensor]:
        self.calls.append(len(files))
        try:
            return [self._decoded(file.numpy().tobytes()) for file in files]
        except OSError as error:
            raise RuntimeError("nvjpegDecode failed") from error

    def _decoded(self, data: bytes) -> torch.Tensor:
        with Image.open(io.BytesIO(data)) as image:
            return torch.tensor(np.asarray(image.convert("RGB"))).permute(2, 0, 1)


@pytest.fixture
def pillow() -> Recorder:
    return Recorder()


@pytest.fixture
def nvjpeg() -> StandIn:
    return StandIn()


@pytest.fixture
def decoder(pillow: Recorder, nvjpeg: StandIn) -> NvjpegDecoder:
    return NvjpegDecoder(PRESET, pillow, max_pixels=LIMITS.pixels, nvjpeg=nvjpeg)


def saved(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, format, **options)
    return data.getvalue()


def picture(width: int = 300, height: int = 260) -> Image.Image:
    """Another colour in each corner, and a gradient between."""
    corners = Image.fromarray(
        np.array([[[250, 20, 20], [20, 250, 20]], [[20, 20, 250], [240, 240, 20]]], np.uint8)
    )
    return corners.resize((width, height), Image.Resampling.BILINEAR)


def pixels(answer: Decoded) -> NDArray[np.uint8]:
    assert isinstance(answer.pixels, np.ndarray), answer
    assert answer.pixels.shape == (224, 224, 3) and answer.pixels.dtype == np.uint8
    return answer.pixels


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(300, 260), (260, 300), (640, 333), (100, 90)])
def test_a_square_is_what_pillow_makes_of_it(
    decoder: NvjpegDecoder, pillow: Recorder, orientation: int, size: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(picture(*size), quality=95, exif=exif)
    [answer] = decoder.decode([data])
    assert not pillow.given
    [expected] = pillow.decode([data])
    # Cropped one pixel beside, or turned another way, they differ by 0.5 and more.
    assert difference(pixels(answer), pixels(expected)) < 0.2


def test_real_pictures_get_the_labels_that_they_get_from_pillow(
    real_weights: Path, pictures: list[Path], tmp_path: Path
) -> None:
    settings = Settings(
        model_weights=str(real_weights), model_labels=None, engine="torch", data_dir=tmp_path
    )
    engine = load_engine(settings)
    files = [path.read_bytes() for path in pictures]
    pillow = Recorder()
    decoder = NvjpegDecoder(engine.model.preset, pillow, max_pixels=LIMITS.pixels, nvjpeg=StandIn())
    squares = np.stack([pixels(each) for each in decoder.decode(files)])
    assert len(pillow.given) <= 5, "nearly all of them are plain"
    expected = np.stack([pixels(each) for each in pillow.decode(files)])
    same = engine.predict(squares).argmax(1) == engine.predict(expected).argmax(1)
    assert same.sum() >= 98


def long_exif() -> bytes:
    plain = saved(picture())
    segment = b"\xff\xe1" + (65_535).to_bytes(2) + b"Exif\0\0" + bytes(65_527)
    return plain[:2] + 2 * segment + plain[2:]


OTHERS = {
    "png": lambda: saved(picture(), "PNG"),
    "progressive": lambda: saved(picture(), progressive=True),
    "cmyk": lambda: saved(picture().convert("CMYK")),
    "mpo": lambda: saved(picture(), "MPO", save_all=True, append_images=[picture()]),
    "rgb within": lambda: saved(picture(), keep_rgb=True),
    "long": lambda: saved(picture(1300, 300)),
    "many pixels": lambda: saved(picture(4100, 4100)),
    "much exif": long_exif,
    "something after its end": lambda: saved(picture()) + b"more",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_plain_jpeg_is_decoded_by_pillow(
    decoder: NvjpegDecoder, pillow: Recorder, nvjpeg: StandIn, kind: str
) -> None:
    data, plain = OTHERS[kind](), saved(picture())
    answers = decoder.decode([plain, data, plain])
    assert pillow.given == [data]
    assert nvjpeg.calls == [2]
    for answer, expected in zip(answers, pillow.decode([plain, data, plain]), strict=True):
        assert difference(pixels(answer), pixels(expected)) < 1


def test_what_cannot_be_decoded_has_pillows_error_and_its_neighbours_their_answers(
    decoder: NvjpegDecoder, pictures: list[Path]
) -> None:
    plain = pictures[0].read_bytes()
    half = plain[: len(plain) // 2]
    files = [plain, b"", half, b"no picture", plain]
    answers = decoder.decode(files)
    codes = [
        each.pixels.code if isinstance(each.pixels, ClassifierError) else "" for each in answers
    ]
    assert codes == ["", "empty_file", TruncatedImage.code, "unsupported_format", ""]


def test_what_nvjpeg_cannot_read_costs_no_neighbour(
    decoder: NvjpegDecoder, pillow: Recorder, nvjpeg: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    plain = saved(picture())
    codes = plain.index(b"\xff\xc4") + 5  # a code for more symbols than there are
    damaged = plain[:codes] + 16 * b"\xff" + plain[codes + 16 :]
    good, bad, also_good = decoder.decode([plain, damaged, plain])
    assert nvjpeg.calls == [3, 1, 1, 1]
    assert pillow.given == [damaged]
    assert isinstance(bad.pixels, ClassifierError)
    assert np.array_equal(pixels(good), pixels(also_good))
    assert "nvJPEG could not read a picture" in caplog.text


def test_no_more_pixels_are_decoded_at_once_than_memory_is_meant_for(
    decoder: NvjpegDecoder, nvjpeg: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvjpeg_decoder, "_PIXELS_AT_ONCE", 3 * 300 * 260)
    decoder.decode([saved(picture())] * 7)
    assert nvjpeg.calls == [3, 3, 1]


def test_without_a_card_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_has_card", lambda: False)
    with pytest.raises(ModelError, match="JPEG_DECODER=nvjpeg needs a CUDA card"):
        resolve_engine(Settings(jpeg_decoder="nvjpeg", data_dir=tmp_path))


def test_a_model_that_wants_it_otherwise_is_refused(pillow: Recorder) -> None:
    with pytest.raises(ModelError, match="bilinear and bicubic"):
        NvjpegDecoder(replace(PRESET, interpolation="nearest"), pillow, max_pixels=1)


def test_its_results_are_not_taken_for_pillows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(model_weights="random", engine="torch", data_dir=tmp_path)
    version = load_engine(settings).model.version
    monkeypatch.setattr(engines, "_has_card", lambda: True)
    on_card = settings.model_copy(update={"jpeg_decoder": "nvjpeg"})
    assert load_engine(on_card).model.version == f"{version}-nvjpeg"


def test_the_settings_say_who_decodes(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert isinstance(load_decoder(settings, PRESET), PillowDecoder)
    on_card = settings.model_copy(update={"jpeg_decoder": "nvjpeg"})
    assert isinstance(load_decoder(on_card, PRESET), NvjpegDecoder)
