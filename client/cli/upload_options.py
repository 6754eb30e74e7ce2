"""The options of `image-classifier upload`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..api.service import CONCURRENCY
from ..upload.walk import PICTURES
from .exits import Exit

#: How long one request is repeated while the service is away or overloaded.
_PATIENCE_SECONDS = 900

Run = Callable[[argparse.Namespace], Exit]


def add_to(commands: Any, common: argparse.ArgumentParser, run: Run) -> None:
    parser = commands.add_parser(
        "upload",
        parents=[common],
        help="classify the pictures of a folder and save a table",
        description="Classify the pictures of a folder and save their labels as a table."
        " An interrupted upload can be resumed with --resume.",
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("folder", metavar="FOLDER")
    add_files(parser)
    add_sending(parser)
    add("--recursive", action="store_true", help="include the folders inside")
    add(
        *("--top-k",),
        type=int,
        default=1,
        choices=range(1, 11),
        metavar="1-10",
        help="labels of each picture; default: 1",
    )
    add_min_score(parser)
    add_embeddings(parser)
    add(
        *("--output",),
        type=Path,
        default=Path("results.csv"),
        metavar="FILE",
        help="the table; it ends in .csv, .jsonl or .parquet; default: results.csv",
    )
    add("--resume", action="store_true", help="continue an earlier run")
    add(
        *("--retry-failed",),
        action="store_true",
        help="continue an earlier run, and classify again what failed or was cancelled in it",
    )
    add("--overwrite", action="store_true", help="replace an existing table")
    add(
        *("--max-failures",),
        type=positive,
        metavar="N",
        help="stop as soon as N pictures have failed in this run",
    )
    add(
        *("--raw-path",),
        action="store_true",
        help="add the column raw_path: the path without protection against formulas, for joins",
    )
    add("--watch", action="store_true", help="wait for new files until Ctrl-C")


def add_min_score(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        *("--min-score",),
        type=score,
        default=0,
        metavar="0-1",
        help="give no label to a picture whose best label has a lower probability; default: 0",
    )


def add_embeddings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        *("--embeddings",),
        action="store_true",
        help="add numbers that are close for similar pictures, if the model gives them; a table of"
        " them ends in .jsonl or .parquet",
    )


def add_files(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which files are sent."""
    add = parser.add_argument
    add(
        *("--include",),
        action="append",
        metavar="PATTERN",
        help=f"classify these files only; default: {' '.join(PICTURES)}",
    )
    add(
        *("--exclude",),
        action="append",
        metavar="PATTERN",
        default=[],
        help="skip these files or folders",
    )
    add("--show-skipped", action="store_true", help="list the files that are not sent")


def add_sending(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how files are sent."""
    add = parser.add_argument
    add(
        *("--concurrency",),
        type=positive,
        default=CONCURRENCY,
        metavar="N",
        help=f"requests at the same time; default: {CONCURRENCY}",
    )
    add(
        *("--patience",),
        type=seconds,
        default=_PATIENCE_SECONDS,
        metavar="SECONDS",
        help="stop when the service has not answered for so long;" f" default: {_PATIENCE_SECONDS}",
    )
    add(
        *("--any-model",),
        action="store_true",
        help="continue although the service has another model version than the table",
    )


def score(text: str) -> float:
    score = float(text)
    if not 0 <= score <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 1")
    return score


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < math.inf:
        raise ValueError
    return seconds
