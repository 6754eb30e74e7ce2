"""Measure `image-classifier upload`, from the start of the command to the written table.

    python -m loadtest.upload PICTURES --images 1000 --rounds 3

PICTURES is a folder of JPEGs; photos of 12 megapixels are made of them, and a quarter as many are
uploaded. Each picture is uploaded several times with different bytes, so that
no result is cached. Client, web, workers and Redis share the machine. The limit is the bare loop of
`loadtest.measure.limit`, before and after each upload. It prints a table in Markdown with the
median and the range of each figure over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from loadtest.publish.figures import Figures, Sets
from loadtest.measure.limit import measure_limit
from loadtest.measure.pictures import PHOTOS, SMALL, TITLES, read_sets
from tests.support.local_service import LocalService, export_model, local_service
from shared.jobs import Lane
from shared.settings import Settings

_PROCESSES = 2


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("--images", type=int, default=1000)
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    sets = read_sets(options.pictures)
    images = {SMALL: options.images, PHOTOS: -(-options.images // 4)}
    settings = Settings()
    export_model()
    results = Sets()
    for number in range(options.rounds):
        for name, pictures in sets.items():
            print(f"round {number + 1} of {options.rounds}: {TITLES[name]}", file=sys.stderr)
            with tempfile.TemporaryDirectory() as folder:
                _round(Path(folder), pictures, images[name], settings, results[name])
    print(results.table())


def _round(
    folder: Path, pictures: list[bytes], images: int, settings: Settings, figures: Figures
) -> None:
    upload = folder / "pictures"
    upload.mkdir()
    for k in range(images):
        # Bytes after the end of a JPEG are ignored. They make each file new to the result cache.
        (upload / f"{k:06}.jpg").write_bytes(pictures[k % len(pictures)] + k.to_bytes(4))
    environment = os.environ | {"WORKER_PROCESSES": str(_PROCESSES), "WEB_PROCESSES": "1"}
    before = measure_limit(pictures, images=images, processes=_PROCESSES, settings=settings)
    with local_service(folder, environment, redis_socket=True) as service:
        service.start_web()
        service.start_worker(Lane.BULK)
        service.await_ready()
        _upload(service, folder / "warm.csv", _few(folder, pictures))
        rate, sent = _upload(service, folder / "first.csv", upload)
        assert (sent["succeeded"], sent["uploaded"]) == (images, images), sent
        cached_rate, cached = _upload(service, folder / "second.csv", upload)
        assert (cached["succeeded"], cached["uploaded"]) == (images, 0), cached
    after = measure_limit(pictures, images=images, processes=_PROCESSES, settings=settings)
    limit = (before + after) / 2
    figures.note(
        limit=limit,
        upload=rate,
        upload_share=rate / limit,
        upload_known=cached_rate,
        upload_client_ms=sent["cpu_ms"],
    )


def _few(folder: Path, pictures: list[bytes]) -> Path:
    """A folder with a few pictures, because the first batches of a worker allocate memory."""
    warm = folder / "warm"
    warm.mkdir()
    for k, data in enumerate(pictures[:64]):
        (warm / f"{k}.jpg").write_bytes(data + b"warm")
    return warm


def _upload(service: LocalService, table: Path, pictures: Path) -> tuple[float, dict[str, Any]]:
    """Returns images per second of wall-clock time, and the summary of the command."""
    command = [sys.executable, "-m", "client", "upload", str(pictures), "--json"]
    command += ["--url", service.base_url, "--output", str(table)]
    spent = _cpu_of_children()
    started = time.perf_counter()
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    summary: dict[str, Any] = json.loads(ended.stdout)
    lines = len(table.read_text().splitlines()) - 1
    assert lines == summary["pictures"], summary
    summary["cpu_ms"] = 1000 * (_cpu_of_children() - spent) / lines
    return lines / seconds, summary


def _cpu_of_children() -> float:
    """Processor time in seconds of ended children. The programs of the service still run."""
    times = os.times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    main()
