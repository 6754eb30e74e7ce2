"""Check and measure the torch engine on a graphics card, in under eight minutes.

    python -m loadtest.on_a_card PICTURES
    python -m loadtest.on_a_card PICTURES --device cpu --processes 1 --seconds 2
    python -m loadtest.on_a_card PICTURES --only labels

PICTURES is a folder of JPEGs. MODEL and MODEL_WEIGHTS choose the model. The first table compares
the probabilities of torch with those of ONNX Runtime in fp32. The second has the rates of the model
alone, of decoding alone, of both in bare loops, and of the whole service. Each line is printed as
soon as it is measured. It exits with 1 if labels differ, or if there is no card.

`--device cpu` runs the same steps with torch on the processor. It shows that the script works, and
nothing about a card.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loadtest.measure import bulk_load, load_client, measures
from loadtest.measure.limit import Stage, measure_limit
from loadtest.measure.pictures import read_pictures
from loadtest.measure.request_stream import CLASSIFY
from shared.errors import ModelError
from shared.jobs import Lane
from shared.settings import Settings
from tests.support.local_service import LocalService, export_model, local_service
from workers.decode.preprocessing import decode
from workers.engine import Engine, load_engine, require_card
from workers.engine.bf16_check import judged

#: The script ends after this time, whatever it does then. It needs about half of it.
_MOST_SECONDS = 470

#: Pool processes that share a card, as in the Compose profile `gpu`.
_PROCESSES = 4

#: Pictures in a run of the model. Three are padded to four on a card.
_SIZES = (1, 3, 32)

_ENGINES = {"cuda": "torch", "cpu": "torch-cpu"}

#: Bytes that a measurement may store in Redis. Web refuses more than `MAX_BYTES_HELD`.
_MOST_BYTES = 600 * 2**20

_NO_CARD = (
    "torch finds no CUDA card on this machine, so nothing was measured."
    " `--device cpu` makes a dry run on the processor."
)


def main() -> None:
    options = _options()
    _end_in_time()
    settings = Settings().model_copy(
        update={"engine": _ENGINES[options.device], "worker_processes": options.processes}
    )
    try:
        require_card(settings)
    except ModelError:
        sys.exit(_NO_CARD)
    pictures = read_pictures(options.pictures)
    os.environ["ENGINE"] = "onnxruntime"  # For the export, which torch does not need.
    export_model()
    os.environ["ENGINE"] = settings.engine
    try:
        engine = load_engine(settings)
    except ModelError as error:  # torch is not installed, or the weights are missing.
        sys.exit(str(error))
    print(f"{_device(options.device)}, {os.cpu_count()} cores, model {engine.model.version}\n")
    same = options.only == "rates" or _agree(engine, pictures, settings)
    if options.only != "labels":
        _measure(engine, pictures, settings, options.seconds)
    sys.exit(0 if same else "The labels of torch and ONNX Runtime differ.")


def _options() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("--device", choices=list(_ENGINES), default="cuda")
    arguments.add_argument(
        "--processes", type=int, default=_PROCESSES, help="pool processes that share the card"
    )
    arguments.add_argument(
        "--seconds", type=float, default=8, help="about the length of each measurement; at least 2"
    )
    arguments.add_argument("--only", choices=["labels", "rates"], help="print one of the tables")
    return arguments.parse_args()


def _end_in_time() -> None:
    """A card that hangs must not cost more than this. What is measured by then is printed."""

    def end(number: int, frame: object) -> None:
        sys.exit(f"The measurement was ended after {_MOST_SECONDS} seconds.")

    signal.signal(signal.SIGALRM, end)
    signal.alarm(_MOST_SECONDS)


def _device(device: str) -> str:
    import torch

    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"Dry run without a card, torch {torch.__version__}"


def _agree(engine: Engine, pictures: Sequence[bytes], settings: Settings) -> bool:
    """Print the table of agreement. Returns whether all lines of it are good."""
    pixels = _pixels(pictures, engine, settings)
    fixed = settings.model_copy(update={"engine": "onnxruntime", "precision": "fp32"})
    expected = load_engine(fixed).predict(pixels)
    engines = {engine.precision: engine}
    if engine.precision != "fp32":
        exact = load_engine(settings.model_copy(update={"precision": "fp32"}))
        engines[exact.precision] = exact
    print(
        f"| torch, compared with ONNX Runtime in fp32, {len(pixels)} pictures | same best label",
        end="",
    )
    print(" | another, though it was clear | largest change of a probability |")
    print("|---|--:|--:|--:|")
    good = True
    for precision, each in engines.items():
        for size in _SIZES:
            good &= _compare(f"{precision}, batches of {size}", expected, _run(each, pixels, size))
    return good


def _compare(title: str, expected: NDArray[np.float32], actual: NDArray[np.float32]) -> bool:
    same = int((expected.argmax(axis=1) == actual.argmax(axis=1)).sum())
    verdict = judged(expected, actual, speed=math.inf)  # The second table has the speed.
    _row(title, f"{same}", f"{verdict.other_labels}", f"{verdict.largest_change:.5f}")
    return verdict.passed


def _run(engine: Engine, pixels: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    batches = [pixels[first : first + size] for first in range(0, len(pixels), size)]
    return np.concatenate([engine.predict(batch) for batch in batches])


def _pixels(pictures: Sequence[bytes], engine: Engine, settings: Settings) -> NDArray[np.uint8]:
    preset, most = engine.model.preset, settings.max_image_pixels
    return np.stack([decode(each, preset, max_pixels=most) for each in pictures])


def _measure(engine: Engine, pictures: Sequence[bytes], settings: Settings, seconds: float) -> None:
    """Print the table of rates. A rate gives the number of pictures of the next measurement."""
    processes = settings.worker_processes
    print(f"\n| pool processes: {processes} | images per second |\n|---|--:|")

    def bare(title: str, expected: float, *stages: Stage, loops: int = processes) -> float:
        rate = measure_limit(
            pictures,
            images=max(loops, int(seconds * expected)) // loops * loops,
            processes=loops,
            settings=settings,
            stages=stages,
        )
        _row(title, f"{rate:.0f}")
        return rate

    model, decoding = _rates_of_one(engine, pictures, settings)
    model = bare("model only, one process", model, "model", loops=1)
    if processes > 1:
        model = bare("model only", model, "model")
    decoding = bare(
        "decoding and resizing only", decoding * min(processes, os.cpu_count() or 1), "decode"
    )
    both = bare("both, a bare loop", 0.7 * min(model, decoding), "decode", "model")
    _whole(pictures, settings, seconds, both)


def _rates_of_one(
    engine: Engine, pictures: Sequence[bytes], settings: Settings
) -> tuple[float, float]:
    """Roughly the images per second of the model and of decoding, in this process."""
    few = list(pictures[:32])
    began = time.perf_counter()
    pixels = _pixels(few, engine, settings)
    decoded = time.perf_counter()
    engine.predict(pixels)
    return len(few) / (time.perf_counter() - decoded), len(few) / (decoded - began)


def _whole(pictures: Sequence[bytes], settings: Settings, seconds: float, expected: float) -> None:
    most = _MOST_BYTES * len(pictures) // sum(map(len, pictures))
    images = max(64, min(most, int(seconds * expected)))
    with _service(settings) as service:
        drained = measures.drain(service, pictures, settings, images=images)
        _row("both, drained from the queue", f"{drained:.0f}")
        service.start_web()
        service.await_ready()
        rate = bulk_load.as_forms(service, pictures, images=images)
        _row("bulk through HTTP, client included", f"{rate:.0f}")
        service.start_worker(Lane.INTERACTIVE)
        service.await_ready()
        for clients in (1, 32, 128):
            _singles(service, pictures, clients, seconds)


def _singles(
    service: LocalService, pictures: Sequence[bytes], clients: int, seconds: float
) -> None:
    """Measure `clients` that send one picture at a time. The last answers count, too."""
    crowd = replace(CLASSIFY, clients=clients)
    report = load_client.run(service.base_url, pictures, [crowd], seconds=seconds)
    times = [1000 * each.seconds for each in report.answers if each.status == 200]
    middle = f"median {statistics.median(times):.1f} ms" if times else "no answer"
    others = len(report.answers) - len(times)
    title = f"one picture per request, {clients} clients: {middle}, {others} other answers"
    _row(title, f"{len(times) / report.seconds:.0f}")


@contextmanager
def _service(settings: Settings) -> Iterator[LocalService]:
    own: Mapping[str, str] = {
        "ENGINE": settings.engine,
        "WORKER_PROCESSES": str(settings.worker_processes),
        "WEB_PROCESSES": "1",
    }
    with tempfile.TemporaryDirectory() as folder:
        with local_service(Path(folder), os.environ | own, redis_socket=True) as service:
            yield service


def _row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
