"""Where the processor's time goes: of each role, for one image, in the two ways of asking.

    python -m loadtest.cpu PICTURES --publish
    python -m loadtest.cpu PICTURES --flame web

The table tells processor time of all processes of a role over images answered, and beside it the
bare work on this machine. `--flame` records a role's first process with py-spy while single
pictures are asked for, into `<role>.svg` of DATA_DIR.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from loadtest import document, load_client, measures, process_table
from loadtest.limit import read_pictures
from loadtest.local_service import LocalService, export_model, local_service
from loadtest.request_stream import CLASSIFY
from shared.settings import Settings
from workers.engine import load_engine
from workers.preprocessing import decode

_IMAGES = 1024
_CLIENTS = 32

_FLAME = {"web": process_table.WEB, "master": process_table.MASTER, "pool": process_table.POOL}

#: Milliseconds of processor time for one image, by role.
Spent = dict[str, float]


def main() -> None:
    options = _options()
    pictures = read_pictures(options.pictures)
    export_model()
    own = {"WORKER_PROCESSES": "2", "WEB_PROCESSES": "1"}
    with tempfile.TemporaryDirectory() as folder:
        with local_service(Path(folder), os.environ | own) as service:
            service.start_all()
            measures.closed_loop(service, pictures, clients=_CLIENTS, seconds=3)  # warms up
            if options.flame:
                return _record(service, pictures, options.flame, options.seconds)
            single = _spent(service, lambda: _single(service, pictures, options.seconds))
            bulk = _spent(service, lambda: _bulk(service, pictures))
    text = table(single, bulk, _bare(pictures))
    print(text)
    if options.publish:
        document.fill("cpu", text)


def _options() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("--seconds", type=float, default=15, help="of single pictures")
    arguments.add_argument("--flame", choices=list(_FLAME), help="draw one role instead")
    arguments.add_argument("--publish", action="store_true", help="write docs/")
    return arguments.parse_args()


def _spent(service: LocalService, load: Callable[[], int]) -> Spent:
    """What a load costs each role; `load` gives the number of images that it had answered."""
    before = process_table.cpu_seconds(service)
    images = load()
    after = process_table.cpu_seconds(service)
    return {role: 1000 * (after[role] - before[role]) / images for role in after}


def _single(service: LocalService, pictures: Sequence[bytes], seconds: float) -> int:
    stream = replace(CLASSIFY, clients=_CLIENTS)
    report = load_client.run(service.base_url, pictures, [stream], seconds=seconds)
    return sum(answer.status == 200 for answer in report.answers)


def _bulk(service: LocalService, pictures: Sequence[bytes]) -> int:
    measures.bulk_through_http(service, pictures, images=_IMAGES)
    return _IMAGES


def _bare(pictures: Sequence[bytes]) -> float:
    """Milliseconds of processor time to decode and classify one picture, among others."""
    settings = Settings()
    engine = load_engine(settings)
    chosen = list(pictures[:8]) * 20
    began = time.process_time()
    for first in range(0, len(chosen), 8):
        preset, limit = engine.model.preset, settings.max_image_pixels
        pixels = [decode(each, preset, max_pixels=limit) for each in chosen[first : first + 8]]
        engine.predict(np.stack(pixels))
    return 1000 * (time.process_time() - began) / len(chosen)


def table(single: Spent, bulk: Spent, bare: float) -> str:
    lines = [f"| processor time for one image (ms) | one a request, {_CLIENTS} clients | bulk |"]
    lines.append("|---|--:|--:|")
    for role in process_table.ROLES:
        lines.append(f"| {role} | {single[role]:.2f} | {bulk[role]:.2f} |")
    lines.append(f"| all | {sum(single.values()):.2f} | {sum(bulk.values()):.2f} |")
    lines.append(f"| of this, decode and model in a bare loop | {bare:.2f} | {bare:.2f} |")
    return "\n".join(lines)


def _record(service: LocalService, pictures: Sequence[bytes], role: str, seconds: float) -> None:
    process = process_table.processes(service)[_FLAME[role]][0]
    path = Settings().data_dir / f"{role}.svg"
    spy = ["py-spy", "record", "--pid", str(process.pid), "--output", str(path), "--native"]
    with subprocess.Popen([*spy, "--duration", str(int(seconds)), "--rate", "200"]) as recording:
        _single(service, pictures, seconds + 2)
        recording.wait()
    print(path)


if __name__ == "__main__":
    main()
