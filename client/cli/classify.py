"""`image-classifier classify PICTURE...`"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import Any

from ..api.records import Prediction
from ..api.service import ImageClassifier
from ..errors import ImageExpired, PictureRefused, RequestTooLarge, UsageError, WorkerLost
from ..text import path_text
from .connect import connect
from .exits import Exit
from .output import print_json, print_line
from .upload_options import add_embeddings, add_min_score

#: Errors of one picture. Any other error ends the command.
_PICTURE_ERRORS = (PictureRefused, RequestTooLarge, ImageExpired, WorkerLost)


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "classify", parents=[common], help="print the labels of single pictures"
    )
    parser.add_argument(
        "pictures", nargs="+", metavar="PICTURE", help="a file; - is standard input"
    )
    parser.add_argument(
        "--top-k",
        type=int,
        default=5,
        choices=range(1, 11),
        metavar="1-10",
        help="labels of each picture; default: 5",
    )
    add_min_score(parser)
    add_embeddings(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> Exit:
    for path in options.pictures:
        _check(path)
    failed = False
    with connect(options) as service:
        for path in options.pictures:
            answer = _classify(service, path, options)
            failed = failed or "error" in answer
            if options.json:
                print_json(answer)
            else:
                _print(answer)
    return Exit.SOME_FAILED if failed else Exit.OK


def _check(path: str) -> None:
    """Raises UsageError if this is no file, before a picture is sent."""
    shown = path_text(path)
    if path == "-":
        if sys.stdin.isatty():
            raise UsageError("Standard input is a terminal. Send a file: classify - < picture.jpg")
    elif Path(path).is_dir():
        raise UsageError(
            f"{shown} is a folder. Classify its pictures with:"
            f" image-classifier upload {quote(shown)}"
        )
    elif Path(path).is_fifo():
        raise UsageError(
            f"{shown} is a pipe. Classify what it gives with:"
            f" image-classifier classify - < {quote(shown)}"
        )


def _classify(service: ImageClassifier, path: str, options: argparse.Namespace) -> dict[str, Any]:
    try:
        picture = sys.stdin.buffer if path == "-" else path
        labels = service.classify(
            picture,
            top_k=options.top_k,
            min_score=options.min_score,
            embeddings=options.embeddings,
        )
    except OSError as error:
        message = error.strerror or type(error).__name__
        return {"path": path_text(path), "error": {"code": "unreadable_file", "message": message}}
    except _PICTURE_ERRORS as error:
        return {"path": path_text(path), "error": {"code": error.code, "message": error.message}}
    answer = {"path": path_text(path), "label": labels.label or None, **asdict(labels)}
    if not options.embeddings:
        del answer["embedding"]
    return answer


def _print(answer: dict[str, Any]) -> None:
    if error := answer.get("error"):
        return print_line(f"{answer['path']}: {error['code']}: {error['message']}")
    predictions = [Prediction(**each) for each in answer["predictions"]]
    text = ", ".join(f"{each.class_name} {each.probability:.1%}" for each in predictions)
    unsure = "unsure: " if answer["below_threshold"] else ""
    if len(answer["labels"]) > 1:
        text = f"{', '.join(answer['labels'])} ({text})"
    print_line(f"{answer['path']}: {unsure}{text}")
