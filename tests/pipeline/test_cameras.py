"""Folders that were copied from a phone and from a camera get the labels of their pictures."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from tests.pipeline.jobs import completed, results
from tests.support.local_service import LocalService
from tests.web.intake.archive_files import zipped
from tests.workers.decode.dng import dng

ROOT = Path(__file__).parents[2]

pillow_heif.register_heif_opener()

#: What a phone puts behind a JPEG: a film of a second.
FILM = b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(200_000)
SIDEWAYS = 6


def encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.copy().save(buffer, form, **options)
    return buffer.getvalue()


def turned_heic(lying: Image.Image, exif: Image.Exif) -> bytes:
    """Bytes of EXIF, and no object, make pillow-heif state the orientation in the container."""
    data = encoded(lying, "HEIF", quality=90, exif=exif.tobytes())
    assert b"irot" in data and b"Exif" in data
    return data


def held(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.fixture(scope="module")
def upright(pictures: list[Path]) -> Image.Image:
    """A picture of a phone's shape, enlarged: 1 to 3 megapixels."""
    with Image.open(pictures[9]) as picture:
        return picture.convert("RGB").resize((3 * picture.width, 3 * picture.height))


@pytest.fixture(scope="module")
def folder(upright: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of a phone and of a camera, and what lies beside them."""
    folder = tmp_path_factory.mktemp("copied")
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    exif = held(SIDEWAYS)
    gray = np.asarray(upright.convert("L")).astype(">u2") * 257
    big_endian = Image.frombytes("I;16B", upright.size, gray.tobytes())
    files = {
        # HEIC: the container states the orientation, and EXIF states it again.
        "phone/IMG_0001.HEIC": turned_heic(lying, exif),
        "phone/IMG_0002.HEIC": encoded(upright, "HEIF", quality=90, thumbnails=[320]),
        "phone/PXL_0003.MP.jpg": encoded(lying, "JPEG", quality=92, exif=exif) + FILM,
        "phone/IMG_0004.avif": encoded(lying, "AVIF", quality=90, speed=10, exif=exif),
        "phone/from-the-web.jfif": encoded(upright, "JPEG", quality=92),
        "phone/cut.jpg": encoded(upright, "JPEG", quality=92)[:-2],
        "camera/DSC_0001.DNG": dng(lying, SIDEWAYS),
        "camera/DSC_0002.MPO": encoded(
            upright, "MPO", quality=92, save_all=True, append_images=[upright.rotate(180)]
        ),
        "camera/DSC_0003.jpe": encoded(upright.resize((9_504, 6_336)), "JPEG", quality=85),
        "camera/gray.tif": encoded(big_endian, "TIFF"),
    }
    others = ("phone/IMG_0001.MOV", "phone/notes.txt", "camera/.DS_Store", "camera/Thumbs.db")
    for name, data in {**files, **dict.fromkeys(others, b"x")}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def expected(service: LocalService, upright: Image.Image) -> dict[bool, str]:
    """The label of the picture in colours, and in gray, by whether it is gray."""
    with httpx.Client(base_url=service.base_url, timeout=60) as http:
        return {
            gray: http.post("/api/v1/classify", content=encoded(picture, "PNG")).json()[
                "predictions"
            ][0]["class_name"]
            for gray, picture in ((False, upright), (True, upright.convert("L")))
        }


def test_each_gets_its_label_by_the_api(
    http: httpx.Client, folder: Path, expected: dict[bool, str]
) -> None:
    paths = sorted(folder.glob("*/[!.]*"))
    paths = [each for each in paths if each.suffix not in (".MOV", ".txt", ".db")]
    files = [("files", (each.name, each.read_bytes())) for each in paths]
    job = http.post("/jobs", files=files).json()
    completed(http, job["id"])
    labels = {
        item["name"]: item["predictions"][0]["class_name"] if item["predictions"] else item["error"]
        for item in results(http, job["id"])
    }
    assert labels == {each.name: expected[each.suffix == ".tif"] for each in paths}


def test_each_gets_its_label_by_the_command(
    service: LocalService, folder: Path, expected: dict[bool, str], tmp_path: Path
) -> None:
    table = tmp_path / "labels.csv"
    command = [sys.executable, "-m", "client", "upload", str(folder), "--recursive", "--json"]
    command += ["--output", str(table), "--url", service.base_url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert (summary["succeeded"], summary["failed"]) == (10, 0)
    assert summary["skipped"] == {".mov": 1, ".txt": 1}
    with table.open(newline="", encoding="utf-8") as file:
        labels = {row["path"]: row["label"] for row in csv.DictReader(file)}
    assert labels == {path: expected[path.endswith(".tif")] for path in labels}


def test_each_gets_its_label_from_an_archive(
    http: httpx.Client, folder: Path, expected: dict[bool, str]
) -> None:
    files = [
        (str(path.relative_to(folder)), path.read_bytes()) for path in sorted(folder.glob("*/*"))
    ]
    job = http.post("/jobs", files={"files": ("copied.zip", zipped(files))}).json()
    assert job["skipped"] == {".mov": 1, ".txt": 1}
    completed(http, job["id"])
    labels = {
        item["name"]: item["predictions"][0]["class_name"] if item["predictions"] else item["error"]
        for item in results(http, job["id"])
    }
    assert len(labels) == 10
    assert labels == {name: expected[name.endswith(".tif")] for name in labels}
