"""`image-classifier classify PICTURE...`"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from .command import Exit, connect, print_json
from ..errors import ImageExpired, PictureRefused, RequestTooLarge, WorkerLost
from ..api.names import shown
from ..api.records import Prediction
from ..api.service import ImageClassifier

#: What is one picture's fault; anything else ends the command.
_OF_THE_PICTURE = (PictureRefused, RequestTooLarge, ImageExpired, WorkerLost)


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("classify", parents=[common], help="print labels of pictures")
    parser.add_argument("pictures", nargs="+", metavar="PICTURE")
    parser.add_argument("--top-k", type=int, default=5, choices=range(1, 11), metavar="1-10")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> Exit:
    failed = False
    with connect(options) as service:
        for path in options.pictures:
            answer = _classify(service, path, options.top_k)
            failed = failed or "error" in answer
            if options.json:
                print_json(answer)
            else:
                _print(answer)
    return Exit.SOME_FAILED if failed else Exit.OK


def _classify(service: ImageClassifier, path: str, top_k: int) -> dict[str, Any]:
    try:
        found = service.classify(path, top_k=top_k)
    except OSError as error:
        message = error.strerror or type(error).__name__
        return {"path": shown(path), "error": {"code": "unreadable_file", "message": message}}
    except _OF_THE_PICTURE as error:
        return {"path": shown(path), "error": {"code": error.code, "message": error.message}}
    return {"path": shown(path), **asdict(found)}


def _print(answer: dict[str, Any]) -> None:
    if "error" in answer:
        return print(f"{answer['path']}: {answer['error']['code']}: {answer['error']['message']}")
    labels = [Prediction(**each) for each in answer["predictions"]]
    print(f"{answer['path']}: " + ", ".join(f"{x.class_name} {x.probability:.1%}" for x in labels))
