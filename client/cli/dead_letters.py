"""`image-classifier dead-letters list|retry`: pictures that made every worker die."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..errors import UsageError
from .connect import connect
from .exits import Exit
from .output import print_json, print_line


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "dead-letters",
        parents=[common],
        help="list or retry the pictures that made every worker die",
    )
    actions = parser.add_subparsers(required=True, metavar="list|retry")
    listing = actions.add_parser("list", parents=[common], help="list them, oldest first")
    listing.set_defaults(run=_list)
    retry = actions.add_parser(
        "retry", parents=[common], help="classify some of them again, each in a job of its own"
    )
    retry.add_argument("letters", nargs="*", metavar="ID", help="an id from the list")
    retry.add_argument("--all", action="store_true", help="retry all that are in the list")
    retry.set_defaults(run=_retry)


def _list(options: argparse.Namespace) -> Exit:
    with connect(options) as service:
        letters = service.dead_letters()
    if options.json:
        print_json([asdict(each) for each in letters])
        return Exit.OK
    if not letters:
        print_line("There are no dead letters.")
    for each in letters:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.at))
        print_line(
            f"{each.id}  {at}  {each.lane}  job {each.job_id}, item {each.index}: {each.name}"
        )
    return Exit.OK


def _retry(options: argparse.Namespace) -> Exit:
    if bool(options.letters) == options.all:
        raise UsageError("Give the ids of dead letters, or --all.")
    with connect(options) as service:
        letters = options.letters or [each.id for each in service.dead_letters()]
        jobs = {letter: service.retry_dead_letter(letter).id for letter in letters}
    return print_retried(jobs, options)


def print_retried(jobs: Mapping[str, str], options: argparse.Namespace) -> Exit:
    """Print the job in which each dead letter is classified again."""
    if options.json:
        print_json(jobs)
        return Exit.OK
    for letter, job_id in jobs.items():
        print_line(f"{letter}: runs again in job {job_id}")
    return Exit.OK
