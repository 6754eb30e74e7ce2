"""`image-classifier operator dead-letters`, `retry` and `delete`."""

from __future__ import annotations

import argparse
from typing import Any

from ...api.operator import Operator
from ...errors import UsageError
from ..connect import connect
from ..dead_letters import print_retried
from ..exits import Exit
from ..output import print_json, print_line
from .table import moment, print_records

_HEAD = ("ID", "OWNER", "LANE", "SINCE", "JOB", "ITEM", "NAME")


def add_to(actions: Any, common: argparse.ArgumentParser) -> None:
    listing = actions.add_parser(
        "dead-letters", parents=[common], help="list the dead letters of all clients, oldest first"
    )
    listing.set_defaults(run=_list)
    retry = actions.add_parser(
        "retry", parents=[common], help="classify the pictures of dead letters once more"
    )
    retry.set_defaults(run=_retry)
    delete = actions.add_parser(
        "delete", parents=[common], help="delete dead letters with their pictures"
    )
    delete.set_defaults(run=_delete)
    for parser in (retry, delete):
        parser.add_argument("letters", nargs="*", metavar="ID", help="an id from the list")
        parser.add_argument("--all", action="store_true", help="all that are in the list")


def _list(options: argparse.Namespace) -> Exit:
    with connect(options) as service:
        letters = Operator(service.connection).dead_letters()
    print_records(letters, options, _HEAD, _row, empty="There are no dead letters.")
    return Exit.OK


def _row(letter: dict[str, Any]) -> tuple[object, ...]:
    return (
        *(letter["id"], letter["owner"], letter["lane"], moment(letter["at"])),
        *(letter["job_id"], letter["index"], letter["name"]),
    )


def _retry(options: argparse.Namespace) -> Exit:
    with connect(options) as service:
        operator = Operator(service.connection)
        jobs = {each: operator.retry_dead_letter(each)["id"] for each in _ids(operator, options)}
    return print_retried(jobs, options)


def _delete(options: argparse.Namespace) -> Exit:
    with connect(options) as service:
        operator = Operator(service.connection)
        deleted = [operator.delete_dead_letter(each)["id"] for each in _ids(operator, options)]
    if options.json:
        print_json(deleted)
        return Exit.OK
    for letter in deleted:
        print_line(f"{letter}: deleted")
    return Exit.OK


def _ids(operator: Operator, options: argparse.Namespace) -> list[str]:
    if bool(options.letters) == options.all:
        raise UsageError("Give the ids of dead letters, or --all.")
    return options.letters or [each["id"] for each in operator.dead_letters()]
