"""Measure the processor time of each role for one image, for several kinds of load.

    python -m loadtest.cpu PICTURES --publish
    python -m loadtest.cpu PICTURES --flame web

The table shows the processor time of all processes of a role, divided by the images, and the bare
work on this machine. `--flame` records the first process of a role with py-spy under a load of
single pictures, and writes `<role>.svg` in DATA_DIR.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from loadtest.publish import document
from loadtest.measure import bulk_load, load_client, measures, process_table
from loadtest.measure.pictures import PHOTOS, SMALL, TITLES, read_sets
from tests.support.local_service import LocalService, export_model, local_service
from loadtest.measure.request_stream import CLASSIFY, Stream
from shared.settings import Settings
from workers.engine import load_engine
from workers.decode.preprocessing import decode

#: Of the bulk load, by set.
_IMAGES = {SMALL: 1024, PHOTOS: 128}
_CLIENTS = 32

_FLAME = {"web": process_table.WEB, "master": process_table.MASTER, "pool": process_table.POOL}

#: The second load, as a share of the rate of the first.
_SHARE = 0.6


@dataclass(frozen=True, kw_only=True)
class Spent:
    """The processor time that one kind of load took."""

    by_role: Mapping[str, float]  #: In seconds.
    images: int
    seconds: float

    def for_one(self, role: str) -> float:
        """Milliseconds of processor time for one image."""
        return 1000 * self.by_role[role] / self.images

    @property
    def cores(self) -> float:
        """The number of cores that the service kept busy."""
        return sum(self.by_role.values()) / self.seconds


def main() -> None:
    options = _options()
    sets = read_sets(options.pictures)
    export_model()
    if options.flame:
        with _service() as service:
            return _record(service, sets[options.set], options.flame, options.seconds)
    spent: dict[str, Spent] = {}
    bare = {}
    for name, pictures in sets.items():
        with _service() as service:
            _warm_up(service, pictures)
            loads = _by_load(service, pictures, options.seconds, _IMAGES[name])
        spent |= {f"{TITLES[name]}: {load}": each for load, each in loads.items()}
        bare |= dict.fromkeys((f"{TITLES[name]}: {load}" for load in loads), _bare(pictures))
    text = table(spent, bare)
    print(text)
    if options.publish:
        document.fill("cpu", text)


@contextmanager
def _service() -> Iterator[LocalService]:
    own = {"WORKER_PROCESSES": "2", "WEB_PROCESSES": "1"}
    with tempfile.TemporaryDirectory() as folder:
        with local_service(Path(folder), os.environ | own, redis_socket=True) as service:
            service.start_all()
            yield service


def _warm_up(service: LocalService, pictures: Sequence[bytes]) -> None:
    measures.closed_loop(service, pictures, clients=_CLIENTS, seconds=3)


def _options() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument(
        "--seconds", type=float, default=15, help="length of each load of single pictures"
    )
    arguments.add_argument("--flame", choices=list(_FLAME), help="record one role instead")
    arguments.add_argument("--set", choices=list(TITLES), default=SMALL, help="for --flame")
    arguments.add_argument("--publish", action="store_true", help="write docs/")
    return arguments.parse_args()


def _by_load(
    service: LocalService, pictures: Sequence[bytes], seconds: float, images: int
) -> dict[str, Spent]:
    """The results by kind of load. The second is the load of `make bench` at 60 % of the peak."""
    crowd = replace(CLASSIFY, clients=_CLIENTS)
    unpaced = _spent(service, lambda: _single(service, pictures, crowd, seconds))
    rate = unpaced.images / unpaced.seconds
    paced = replace(CLASSIFY, rate=_SHARE * rate)
    return {
        f"one picture per request, {_CLIENTS} clients": unpaced,
        f"{_SHARE:.0%} of that rate, at random moments": _spent(
            service, lambda: _single(service, pictures, paced, seconds)
        ),
        "bulk": _spent(service, lambda: _bulk(service, pictures, images, bulk_load.as_forms)),
        "bulk without forms": _spent(
            service, lambda: _bulk(service, pictures, images, bulk_load.as_parts)
        ),
    }


def _spent(service: LocalService, load: Callable[[], tuple[int, float]]) -> Spent:
    """The processor time of each role under a load.

    `load` returns the number of answered images, and seconds.
    """
    before = process_table.cpu_seconds(service)
    images, seconds = load()
    after = process_table.cpu_seconds(service)
    by_role = {role: after[role] - before[role] for role in after}
    return Spent(by_role=by_role, images=images, seconds=seconds)


def _single(
    service: LocalService, pictures: Sequence[bytes], stream: Stream, seconds: float
) -> tuple[int, float]:
    report = load_client.run(service.base_url, pictures, [stream], seconds=seconds)
    return sum(answer.status == 200 for answer in report.answers), report.seconds


def _bulk(
    service: LocalService, pictures: Sequence[bytes], images: int, send: Callable[..., float]
) -> tuple[int, float]:
    rate = send(service, pictures, images=images)
    return images, images / rate


def _bare(pictures: Sequence[bytes]) -> float:
    """Milliseconds of processor time to decode and classify one picture of a batch."""
    settings = Settings()
    engine = load_engine(settings)
    chosen = list(pictures[:8]) * 20
    began = time.process_time()
    for first in range(0, len(chosen), 8):
        preset, limit = engine.model.preset, settings.max_image_pixels
        pixels = [decode(each, preset, max_pixels=limit) for each in chosen[first : first + 8]]
        engine.predict(np.stack(pixels))
    return 1000 * (time.process_time() - began) / len(chosen)


def table(ways: Mapping[str, Spent], bare: Mapping[str, float]) -> str:
    def row(name: str, values: Iterable[float]) -> str:
        return f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |"

    spent = list(ways.values())
    lines = [
        f"| processor time for one image (ms) | {' | '.join(ways)} |",
        "|---" + len(ways) * "|--:" + "|",
    ]
    lines += [row(role, (each.for_one(role) for each in spent)) for role in process_table.ROLES]
    whole = (sum(each.for_one(role) for role in process_table.ROLES) for each in spent)
    lines.append(row("all", whole))
    lines.append(row("decoding and model alone, in a bare loop", (bare[way] for way in ways)))
    lines.append(row("images per second", (each.images / each.seconds for each in spent)))
    lines.append(row("busy cores", (each.cores for each in spent)))
    return "\n".join(lines)


def _record(service: LocalService, pictures: Sequence[bytes], role: str, seconds: float) -> None:
    _warm_up(service, pictures)
    process = process_table.processes(service)[_FLAME[role]][0]
    path = Settings().data_dir / f"{role}.svg"
    spy = ["py-spy", "record", "--pid", str(process.pid), "--output", str(path), "--native"]
    with subprocess.Popen([*spy, "--duration", str(int(seconds)), "--rate", "200"]) as recording:
        _single(service, pictures, replace(CLASSIFY, clients=_CLIENTS), seconds + 2)
        recording.wait()
    print(path)


if __name__ == "__main__":
    main()
