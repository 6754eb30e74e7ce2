"""Measure decoding and the model, each alone, both together, and both behind the queue.

    python -m loadtest.stages PICTURES

The first three run in bare loops, one per pool process. The last drains a full queue. It reports
which of them is the limit. ENGINE chooses the CPU or the card.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtest.publish import document
from loadtest.measure import measures
from loadtest.measure.limit import measure_limit
from loadtest.measure.pictures import PHOTOS, SMALL, TITLES, read_sets
from tests.support.local_service import export_model, local_service
from shared.settings import Settings
from workers.engine import load_engine, uses_torch

#: A rate above this share of another is about the same.
_NEARLY = 0.9


def main() -> None:
    options = _options()
    sets = read_sets(options.pictures)
    images = {SMALL: options.images, PHOTOS: -(-options.images // 4)}
    settings = Settings()
    if not uses_torch(settings):
        export_model()
    engine = load_engine(settings)
    texts = []
    for name, pictures in sets.items():
        rounds = [_round(pictures, settings, images[name]) for _ in range(options.rounds)]
        rates = {stage: [each[stage] for each in rounds] for stage in rounds[0]}
        texts.append(table(rates, settings, TITLES[name], f"{engine.name} in {engine.precision}"))
    text = "\n\n".join(texts)
    print(text)
    if options.publish:
        document.fill("stages", text)


def _options() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("--images", type=int, default=1024, help="of each measurement")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--publish", action="store_true", help="write docs/")
    return arguments.parse_args()


def _round(pictures: Sequence[bytes], settings: Settings, images: int) -> dict[str, float]:
    """Images per second of each kind of work."""

    def bare(*stages: str) -> float:
        return measure_limit(
            pictures,
            images=images,
            processes=settings.worker_processes,
            settings=settings,
            stages=stages,
        )

    rates = {"model": bare("model"), "decode": bare("decode"), "both": bare("decode", "model")}
    with tempfile.TemporaryDirectory() as folder, local_service(
        Path(folder), os.environ, redis_socket=True
    ) as service:
        rates["drained"] = measures.drain(service, pictures, settings, images=images)
    return rates


def table(
    rates: Mapping[str, Sequence[float]], settings: Settings, pictures: str, engine: str
) -> str:
    """The table in Markdown. `rates` are images per second of each round, by kind of work.

    `pictures` names the set of pictures, and `engine` the engine and its precision.
    """
    median = {name: statistics.median(values) for name, values in rates.items()}
    titles = {
        "model": f"model only, {engine}",
        "decode": "decoding and resizing only, pillow",
        "both": "both, a bare loop",
        "drained": "both, drained from the queue",
    }
    rows = [
        f"| {titles[name]} | {median[name]:.0f} | {min(values):.0f} to {max(values):.0f} |"
        for name, values in rates.items()
    ]
    head = [f"| {settings.worker_processes} processes, {pictures} per second | median | range |"]
    return "\n".join([*head, "|---|--:|--:|", *rows, "", f"The limit: {_limit(median)}."])


def _limit(median: Mapping[str, float]) -> str:
    if median["drained"] < _NEARLY * median["both"]:
        return "the queue and the worker around decoding and model"
    slower, faster = sorted(("model", "decode"), key=lambda name: median[name])
    if median[slower] > _NEARLY * median[faster]:
        return "decoding and the model alike"
    return {"model": "the model", "decode": "decoding"}[slower]


if __name__ == "__main__":
    main()
