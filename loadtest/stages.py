"""What decoding and the model could do alone, what both do together, and what a queue leaves of it.

    python -m loadtest.stages PICTURES

In bare loops, one for each pool process, and then from the queue, of what is enqueued already.
Reports which of them is the limit, on a CPU or on a card; ENGINE says on which.
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
from loadtest.measure.pictures import read_pictures
from tests.support.local_service import export_model, local_service
from shared.settings import Settings
from workers.engine import resolve_engine

#: A queue that delivers nearly what a bare loop does is no limit.
_NEARLY = 0.9


def main() -> None:
    options = _options()
    pictures = read_pictures(options.pictures)
    settings = Settings()
    if resolve_engine(settings) == "onnxruntime":
        export_model()
    rounds = [_round(pictures, settings, options.images) for _ in range(options.rounds)]
    text = table({name: [each[name] for each in rounds] for name in rounds[0]}, settings)
    print(text)
    if options.publish:
        document.fill("stages", text)


def _options() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("--images", type=int, default=1024, help="of each measure")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--publish", action="store_true", help="write docs/")
    return arguments.parse_args()


def _round(pictures: Sequence[bytes], settings: Settings, images: int) -> dict[str, float]:
    """Images a second, by what was done."""

    def bare(*stages: str) -> float:
        return measure_limit(
            pictures,
            images=images,
            processes=settings.worker_processes,
            settings=settings,
            stages=stages,
        )

    found = {"model": bare("model"), "decode": bare("decode"), "both": bare("decode", "model")}
    with tempfile.TemporaryDirectory() as folder, local_service(
        Path(folder), os.environ, redis_socket=True
    ) as service:
        found["drained"] = measures.drain(service, pictures, settings, images=images)
    return found


def table(found: Mapping[str, Sequence[float]], settings: Settings) -> str:
    """`found`: images a second of each round, by what was done."""
    median = {name: statistics.median(rates) for name, rates in found.items()}
    says = {
        "model": f"model only, {resolve_engine(settings)}",
        "decode": "decoding and resizing only, pillow",
        "both": "both, a bare loop",
        "drained": "both, drained from the queue",
    }
    rows = [
        f"| {says[name]} | {median[name]:.0f} | {min(rates):.0f} to {max(rates):.0f} |"
        for name, rates in found.items()
    ]
    head = [f"| {settings.worker_processes} processes, images per second | median | range |"]
    return "\n".join([*head, "|---|--:|--:|", *rows, "", f"The limit: {_limit(median)}."])


def _limit(median: Mapping[str, float]) -> str:
    if median["drained"] < _NEARLY * median["both"]:
        return "what is around decoding and model, the queue and its worker"
    slower, faster = sorted(("model", "decode"), key=lambda name: median[name])
    if median[slower] > _NEARLY * median[faster]:
        return "decoding and model alike"
    return {"model": "the model", "decode": "decoding"}[slower]


if __name__ == "__main__":
    main()
