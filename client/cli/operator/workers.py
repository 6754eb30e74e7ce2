"""`image-classifier operator workers`."""

from __future__ import annotations

import argparse
from typing import Any

from ...api.operator import Operator
from ..connect import connect
from ..exits import Exit
from ..output import print_json
from .table import moment, print_table

_HEAD = ("WORKER", "LANE", "HOST", "ENGINE", "MODEL VERSION", "STARTED", "SEEN", "PARTS")


def add_to(actions: Any, common: argparse.ArgumentParser) -> None:
    listing = actions.add_parser("workers", parents=[common], help="show what each worker runs")
    listing.set_defaults(run=_list)


def _list(options: argparse.Namespace) -> Exit:
    with connect(options) as service:
        workers = Operator(service.connection).workers()
    if options.json:
        print_json(workers)
        return Exit.OK
    rows = [
        (
            *(each["name"], each["lane"], each["host"], each["engine"], each["model_version"]),
            *(moment(each["started_at"]), moment(each["seen_at"]), each["parts"]),
        )
        for each in workers
    ]
    print_table(_HEAD, rows, empty="No worker gives a sign of life.")
    return Exit.OK
