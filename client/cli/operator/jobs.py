"""`image-classifier operator jobs`, `job` and `cancel`."""

from __future__ import annotations

import argparse
from itertools import islice
from typing import Any

from ...api.operator import Operator
from ..connect import connect
from ..exits import Exit
from ..upload_options import positive
from .table import moment, print_records

_STATES = ("receiving", "queued", "running", "completed", "cancelled")
_HEAD = ("JOB", "OWNER", "LANE", "STATE", "MADE", "IMAGES", "DONE", "FAILED")


def add_to(actions: Any, common: argparse.ArgumentParser) -> None:
    listing = actions.add_parser(
        "jobs", parents=[common], help="list the jobs of all clients, the newest first"
    )
    listing.add_argument("--state", choices=_STATES, help="only jobs in this state")
    listing.add_argument("--lane", choices=("interactive", "bulk"), help="only jobs of this lane")
    listing.add_argument("--owner", metavar="NAME", help="only jobs of the API key of this name")
    listing.add_argument(
        "--limit", type=positive, default=50, metavar="N", help="most jobs to list; default: 50"
    )
    listing.set_defaults(run=_list)
    read = actions.add_parser("job", parents=[common], help="show the job of any client")
    read.set_defaults(run=_read)
    cancel = actions.add_parser("cancel", parents=[common], help="cancel jobs of any client")
    cancel.set_defaults(run=_cancel)
    for parser in (read, cancel):
        parser.add_argument("jobs", nargs="+", metavar="JOB", help="the id of a job")


def _list(options: argparse.Namespace) -> Exit:
    with connect(options) as service:
        jobs = Operator(service.connection).jobs(
            state=options.state, lane=options.lane, owner=options.owner
        )
        return _print(list(islice(jobs, options.limit)), options)


def _read(options: argparse.Namespace) -> Exit:
    with connect(options) as service:
        return _print([Operator(service.connection).job(each) for each in options.jobs], options)


def _cancel(options: argparse.Namespace) -> Exit:
    with connect(options) as service:
        return _print([Operator(service.connection).cancel(each) for each in options.jobs], options)


def _print(jobs: list[dict[str, Any]], options: argparse.Namespace) -> Exit:
    print_records(jobs, options, _HEAD, _row, empty="There are no such jobs.")
    return Exit.OK


def _row(job: dict[str, Any]) -> tuple[object, ...]:
    counts = job["counts"]
    return (
        *(job["id"], job["owner"], job["lane"], job["state"], moment(job["created_at"])),
        *(counts["total"], counts["succeeded"] + counts["failed"], counts["failed"]),
    )
