"""Hostile pictures through the real service, while good ones are being classified."""

from __future__ import annotations

import io
import random
import struct
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from shared.jobs import Lane
from tests.pipeline.hostile.hostile_pictures import OK, chunk, corpus, encoded
from tests.pipeline.jobs import completed, results
from tests.support.local_service import LocalService

SEED = 20_261_123
#: A working pool process holds 200 MB. MAX_DECODE_BYTES allows 490 MB more for decoding. The rest
#: is for the files of its micro-batch.
POOL_PROCESS_MEGABYTES = 750

#: How a camera's position changes the pixels, by the EXIF orientation that it writes.
ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(scope="module")
def good(pictures: list[Path]) -> list[Path]:
    return pictures[:12]


def run(http: httpx.Client, files: Sequence[tuple[str, bytes]]) -> list[dict[str, Any]]:
    """The items of a job of these files, once it has completed."""
    return finished(http, submit(http, files))


def submit(http: httpx.Client, files: Sequence[tuple[str, bytes]]) -> str:
    """The id of a job of these files. A busy service is asked again, as a client should do."""
    uploads = [("files", file) for file in files]
    for _ in range(30):
        answer = http.post("/jobs", files=uploads, data={"lane": "bulk"})
        if answer.status_code != 503:
            break
        time.sleep(float(answer.headers["Retry-After"]))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def finished(http: httpx.Client, job_id: str) -> list[dict[str, Any]]:
    completed(http, job_id)
    return results(http, job_id)


def best(item: dict[str, Any]) -> str:
    assert item["predictions"], item
    return str(item["predictions"][0]["class_name"])


def peak_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


# A micro-batch of such pictures takes long. Beside other tests it could pass its time limit.
@pytest.mark.long
@pytest.mark.alone
def test_good_pictures_are_classified_while_hostile_ones_are_refused(
    http: httpx.Client, service: LocalService, good: list[Path]
) -> None:
    expected = [best(item) for item in run(http, [(p.name, p.read_bytes()) for p in good])]
    pools = {lane: service.pool_processes(lane) for lane in Lane}
    hostile = corpus(SEED)
    random.Random(SEED).shuffle(hostile)
    pairs = [
        # A good picture comes before every bad one, so that each bad one has neighbours.
        (("good", good[k % len(good)].read_bytes() + b"%d" % k), (each.name, each.data))
        for k, each in enumerate(hostile)
    ]
    job_ids = [
        submit(http, [file for pair in pairs[start : start + 16] for file in pair])
        for start in range(0, len(pairs), 16)
    ]
    for picture, label in zip(good, expected, strict=True):
        answer = http.post("/api/v1/classify", content=picture.read_bytes() + b"now")
        assert best(answer.json()) == label

    items = [item for job_id in job_ids for item in finished(http, job_id)]
    neighbours = [expected[k % len(good)] for k in range(len(hostile))]
    assert [best(item) for item in items[::2]] == neighbours
    wrong = {
        each.name: (outcome, each.outcomes)
        for each, item in zip(hostile, items[1::2], strict=True)
        if (outcome := item["error"]["code"] if item["error"] else OK) not in each.outcomes
    }
    assert not wrong
    assert {lane: service.pool_processes(lane) for lane in Lane} == pools, "a process died"
    peaks = {pid: peak_megabytes(pid) for pids in pools.values() for pid in pids}
    assert max(peaks.values()) < POOL_PROCESS_MEGABYTES, peaks


def deep_png(picture: Image.Image) -> bytes:
    """A PNG with 16 bits a channel, which Pillow reads but does not write."""
    pixels = np.asarray(picture).astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", *picture.size, 16, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def oriented(upright: Image.Image, orientation: int) -> bytes:
    """A JPEG of turned pixels whose EXIF orientation turns them back."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(upright.transpose(ORIENTATIONS[orientation]), "JPEG", quality=95, exif=exif)


def colour_variants(upright: Image.Image) -> dict[str, bytes]:
    """The same picture in every format and mode that keeps its colours."""
    palette = upright.quantize(255)
    clear = upright.convert("RGBA")
    return {
        **{f"orientation {each}": oriented(upright, each) for each in ORIENTATIONS},
        "progressive": encoded(upright, "JPEG", quality=95, progressive=True),
        "no subsampling": encoded(upright, "JPEG", quality=95, subsampling=0),
        "cmyk jpeg": encoded(upright.convert("CMYK"), "JPEG", quality=95),
        "cmyk tiff": encoded(upright.convert("CMYK"), "TIFF", compression="tiff_lzw"),
        "16 bits": deep_png(upright),
        "opaque alpha": encoded(clear, "PNG"),
        "palette": encoded(palette, "PNG"),
        "palette with transparency": encoded(palette, "PNG", transparency=255),
        "bitmap": encoded(upright, "BMP"),
        "webp": encoded(upright, "WEBP", quality=95),
        "stereo": encoded(upright, "MPO", quality=95, **_with_others(upright.size)),
        "animated gif": encoded(upright, "GIF", **_with_others(upright.size)),
        "animated webp": encoded(upright, "WEBP", quality=95, **_with_others(upright.size)),
        "animated png": encoded(upright, "PNG", **_with_others(upright.size)),
        "pages": encoded(upright, "TIFF", **_with_others(upright.size)),
    }


def _with_others(size: tuple[int, int]) -> dict[str, object]:
    return {"save_all": True, "append_images": [Image.new("RGB", size, "green") for _ in range(2)]}


def gray_variants(gray: Image.Image) -> dict[str, bytes]:
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    large = gray.resize((4 * gray.width, 4 * gray.height), Image.Resampling.BICUBIC)
    return {
        "gray 16 bits png": encoded(deep, "PNG"),
        "gray 16 bits tiff": encoded(deep, "TIFF"),
        "gray with alpha": encoded(gray.convert("LA"), "PNG"),
        "1 bit png": encoded(large.convert("1"), "PNG"),
        "1 bit fax": encoded(large.convert("1"), "TIFF", compression="group4"),
    }


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_picture_keeps_its_label_however_it_is_written(
    http: httpx.Client, good: list[Path], which: int
) -> None:
    with Image.open(io.BytesIO(_sure(http, good)[which].read_bytes())) as picture:
        upright = picture.convert("RGB")
    gray = upright.convert("L")
    for original, variants in (
        (upright, colour_variants(upright)),
        (gray, gray_variants(gray)),
    ):
        files = [("original", encoded(original, "PNG")), *variants.items()]
        first, *others = run(http, files)
        labels = {item["name"]: best(item) for item in others}
        assert set(labels.values()) == {best(first)}, (best(first), labels)


def _sure(http: httpx.Client, good: list[Path]) -> list[Path]:
    """The most certain pictures first. The labels of others may change with little noise."""
    items = run(http, [(picture.name, picture.read_bytes()) for picture in good])
    certain = [item["predictions"][0]["probability"] for item in items]
    return [good[k] for k in sorted(range(len(good)), key=lambda k: -certain[k])]
