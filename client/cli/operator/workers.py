"""`image-classifier operator workers`."""

from __future__ import annotations

import argparse
from typing import Any

from ...api.operator import Operator
from ..connect import connect
from ..exits import Exit
from .table import moment, print_records

_HEAD = ("WORKER", "LANE", "HOST", "ENGINE", "MODEL VERSION", "STARTED", "SEEN", "PARTS")


def add_to(actions: Any, common: argparse.ArgumentParser) -> None:
    listing = actions.add_parser("workers", parents=[common], help="show what each worker runs")
    listing.set_defaults(run=_list)


def _list(options: argparse.Namespace) -> Exit:
    with connect(options) as service:
        workers = Operator(service.connection).workers()
    print_records(workers, options, _HEAD, _row, empty="No worker gives a sign of life.")
    return Exit.OK


def _row(worker: dict[str, Any]) -> tuple[object, ...]:
    return (
        *(worker["name"], worker["lane"], worker["host"], worker["engine"]),
        *(worker["model_version"], moment(worker["started_at"]), moment(worker["seen_at"])),
        worker["parts"],
    )
