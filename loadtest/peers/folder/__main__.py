"""Compare `image-classifier upload` with programs that classify a folder, one after the other.

    python -m loadtest.peers.environments ray_data daft_table
    python -m loadtest.peers.folder PICTURES --images 2000 --rounds 3

PICTURES is a folder of JPEGs. Each is used several times with different bytes, up to `--images`
files. Every program writes their labels into a Parquet table, with the same decoding, engine and
model file, in two processes. The service runs when the time of its command begins; its memory
counts. The others load the model within their time, because they have no service. `--engine
openvino` gives the faster engine to all of them. Peers without an environment are left out.

Each round runs each program four times, with files that it has not seen:

- to its end: time, images per second, memory of all processes, wrong labels
- killed with SIGKILL when half of the pictures are classified: the rows that can be read then
- once more after that; the command gets `--resume`: its time, and the pictures that were classified
  again
- with one of its two classifying processes killed in the middle: the rows of its table
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtest.measure.limit import measure_limit
from loadtest.measure.pictures import read_pictures
from loadtest.peers.classifier import Classifier
from loadtest.peers.environments import python
from loadtest.peers.folder.candidates import OURS, PROCESSES, Candidate, candidate
from loadtest.peers.folder.run import Program, rows
from loadtest.peers.peer import FOLDER_PEERS
from shared.settings import Settings
from tests.support.local_service import export_model

_TITLES = {OURS: "this service, `image-classifier upload`"} | FOLDER_PEERS

#: The figures of a program, one for each round, by their column.
Results = dict[str, list[float]]

_COLUMNS = {
    "seconds": "seconds in all",
    "rate": "images/s",
    "share": "of the limit",
    "megabytes": "memory (MB)",
    "wrong": "wrong or missing labels",
    "left": "rows after SIGKILL",
    "again": "seconds of the next run",
    "twice": "pictures classified twice",
    "survived": "rows, one process killed",
}


def main() -> None:
    options = _options()
    os.environ |= {"ENGINE": options.engine, "PRECISION": "auto"}
    pictures = read_pictures(options.pictures)
    export_model()
    right = Classifier(options.engine).labels(pictures)
    names = [OURS, *(name for name in FOLDER_PEERS if _is_installed(name))]
    results: dict[str, Results] = {name: defaultdict(list) for name in names}
    limits = [_limit(pictures, options.images)]
    for number in range(options.rounds):
        for name in names:
            print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr)
            with tempfile.TemporaryDirectory() as folder:
                with candidate(name, Path(folder), options.engine) as chosen:
                    _measure(chosen, pictures, right, options.images, results[name])
            limits.append(_limit(pictures, options.images))
            share = results[name]["rate"][-1] / statistics.mean(limits[-2:])
            results[name]["share"].append(share)
    print(f"{options.images} files, {options.engine}, limit {_median_and_range(limits)} images/s\n")
    print(table(results))


def _options() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("--images", type=int, default=2000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--engine", choices=["onnxruntime", "openvino"], default="onnxruntime")
    return arguments.parse_args()


def _is_installed(name: str) -> bool:
    installed = python(name).exists()
    if not installed:
        print(f"{name} is left out because it has no environment", file=sys.stderr)
    return installed


def _limit(pictures: list[bytes], images: int) -> float:
    return measure_limit(pictures, images=images, processes=PROCESSES, settings=Settings())


def _measure(
    chosen: Candidate,
    pictures: Sequence[bytes],
    right: Sequence[str],
    images: int,
    results: Results,
) -> None:
    if chosen.warm_up:
        program, _ = _next(chosen, pictures, chosen.warm_up, 0)
        program.run()
    program, table = _next(chosen, pictures, images, 1)
    run = program.run()
    if not run.succeeded:
        sys.exit(f"A program has failed:\n{program.log()[-3000:]}")
    labels = rows(table)
    wrong = sum(labels.get(_name(k)) != right[k % len(right)] for k in range(images))
    results["seconds"].append(run.seconds)
    results["rate"].append(images / run.seconds)
    results["megabytes"].append(run.megabytes)
    results["wrong"].append(wrong)

    program, table = _next(chosen, pictures, images, 2)
    before = chosen.classified(program)
    if not program.kill(chosen.half(program, images)):
        print("It ended before it was killed.", file=sys.stderr)
    results["left"].append(chosen.rows_left(table))
    results["again"].append(program.run(*chosen.resume).seconds)
    results["twice"].append(chosen.classified(program) - before - images)

    program, table = _next(chosen, pictures, images, 3)
    half = chosen.half(program, images)
    program.run(during=lambda process: chosen.kill_one(program, process, half))
    results["survived"].append(len(rows(table)))


def _next(
    chosen: Candidate, pictures: Sequence[bytes], images: int, number: int
) -> tuple[Program, Path]:
    """A program with new files, and the table that it will write."""
    files = chosen.folder / f"files-{number}"
    files.mkdir()
    for k in range(images):
        # Bytes after the end of a JPEG are ignored. They make each file new to the result cache.
        data = pictures[k % len(pictures)] + (1_000_000 * number + k).to_bytes(4)
        (files / _name(k)).write_bytes(data)
    table = chosen.folder / f"{number}.parquet"
    return chosen.program(files, table), table


def _name(number: int) -> str:
    return f"{number:06}.jpg"


def table(results: Mapping[str, Results]) -> str:
    """The table in Markdown: median and range of each figure over the rounds."""
    lines = [f"| | {' | '.join(_COLUMNS.values())} |", "|---|" + len(_COLUMNS) * "--:|"]
    for name, figures in results.items():
        cells = [_median_and_range(figures[column]) for column in _COLUMNS]
        lines.append(f"| {_TITLES[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _median_and_range(values: Sequence[float]) -> str:
    def text(value: float) -> str:
        return f"{value:.2f}" if value < 10 and value % 1 else f"{value:.4g}"

    middle, *ends = map(text, (statistics.median(values), min(values), max(values)))
    return middle if ends == [middle, middle] else f"{middle} ({ends[0]} to {ends[1]})"


if __name__ == "__main__":
    main()
