"""`image-classifier operator lanes`, `pause`, `resume`, `drain` and `purge`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from ...api.service import ImageClassifier
from ...api.operator import Operator
from ...errors import UsageError
from ...text import count_text
from ..connect import connect
from ..exits import Exit
from ..output import print_error, print_json
from ..upload_options import seconds
from .table import moment, print_table

_LANES = ("interactive", "bulk")
_HEAD = ("LANE", "STATE", "SINCE", "BY", "WORKERS", "PARTS", "IMAGES", "REASON")

#: Between two looks at a lane that drains.
_POLL_SECONDS = 1.0


def add_to(actions: Any, common: argparse.ArgumentParser) -> None:
    def add(name: str, run: Callable[[argparse.Namespace], Exit], text: str) -> Any:
        parser = actions.add_parser(name, parents=[common], help=text)
        parser.set_defaults(run=run)
        return parser

    def add_change(name: str, run: Callable[[argparse.Namespace], Exit], text: str) -> Any:
        parser = add(name, run, text)
        parser.add_argument("lane", choices=_LANES)
        parser.add_argument(
            "--reason", default="", metavar="TEXT", help="for others who list the lanes"
        )
        return parser

    add("lanes", _list, "show the state and the backlog of each lane")
    pause = add_change("pause", _pause, "let workers take nothing; submissions wait")
    pause.add_argument(
        "--refuse", action="store_true", help="also refuse submissions, with 503 lane_closed"
    )
    add_change("resume", _resume, "open a lane again")
    drain = add_change("drain", _drain, "refuse submissions, and let workers finish the rest")
    drain.add_argument(
        "--wait",
        type=seconds,
        metavar="SECONDS",
        help="wait until the lane is empty, at most so long",
    )
    purge = add("purge", _purge, "cancel all jobs of a lane, of all clients")
    purge.add_argument("lane", choices=_LANES)
    purge.add_argument("--yes", action="store_true", help="do not ask")


def _list(options: argparse.Namespace) -> Exit:
    with connect(options) as service:
        _print(Operator(service.connection).lanes(), options)
    return Exit.OK


def _pause(options: argparse.Namespace) -> Exit:
    return _change(options, "closed" if options.refuse else "paused")


def _resume(options: argparse.Namespace) -> Exit:
    return _change(options, "open")


def _change(options: argparse.Namespace, state: str) -> Exit:
    with connect(options) as service:
        lane = Operator(service.connection).set_lane_state(options.lane, state, options.reason)
    _print({options.lane: lane}, options)
    return Exit.OK


def _drain(options: argparse.Namespace) -> Exit:
    with connect(options) as service:
        lane = Operator(service.connection).set_lane_state(options.lane, "draining", options.reason)
        if options.wait is not None:
            lane = _await_empty(service, options.lane, options.wait)
    _print({options.lane: lane}, options)
    unfinished = options.wait is not None and lane["outstanding_parts"]
    return Exit.NOT_FINISHED if unfinished else Exit.OK


def _await_empty(service: ImageClassifier, name: str, seconds: float) -> dict[str, Any]:
    give_up = time.monotonic() + seconds
    while True:
        lane = Operator(service.connection).lane(name)
        left = give_up - time.monotonic()
        if not lane["outstanding_parts"] or left <= 0:
            return lane
        time.sleep(min(_POLL_SECONDS, left))


def _purge(options: argparse.Namespace) -> Exit:
    with connect(options) as service:
        if not options.yes:
            _ask(Operator(service.connection).lane(options.lane), options.lane)
        cancelled = 0
        for cancelled in Operator(service.connection).purge(options.lane):
            if not options.json:
                print_error(f"{count_text(cancelled, 'job')} cancelled")
    if options.json:
        print_json({"lane": options.lane, "cancelled": cancelled})
    return Exit.OK


def _ask(lane: Mapping[str, Any], name: str) -> None:
    """Ask the user to type the name of the lane. Raises UsageError otherwise."""
    if not sys.stdin.isatty():
        raise UsageError("Nobody can be asked here. Give --yes to purge the lane.")
    pictures = count_text(lane["outstanding_images"], "picture")
    print_error(f"This cancels all jobs of the lane {name}, of all clients: {pictures} wait.")
    if input(f"Type {name} to go on: ").strip() != name:
        raise UsageError("Nothing was cancelled.")


def _print(lanes: Mapping[str, Mapping[str, Any]], options: argparse.Namespace) -> None:
    if options.json:
        return print_json(lanes)
    rows = [
        (
            *(name, lane["state"], moment(lane["since"]), lane["by"], lane["workers"]),
            *(lane["outstanding_parts"], lane["outstanding_images"], lane["reason"]),
        )
        for name, lane in lanes.items()
    ]
    print_table(_HEAD, rows, empty="")
