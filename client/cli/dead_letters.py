"""`image-classifier dead-letters list|retry`: pictures that every worker died on."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from typing import Any

from .command import Exit, connect, print_json
from ..errors import UsageError


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "dead-letters", help="pictures that every worker died on: list them, or try them again"
    )
    actions = parser.add_subparsers(required=True, metavar="list|retry")
    listing = actions.add_parser("list", parents=[common], help="oldest first")
    listing.set_defaults(run=_list)
    retry = actions.add_parser("retry", parents=[common], help="try some once more, each alone")
    retry.add_argument("letters", nargs="*", metavar="ID", help="as listed")
    retry.add_argument("--all", action="store_true", help="every one that is listed")
    retry.set_defaults(run=_retry)


def _list(options: argparse.Namespace) -> Exit:
    with connect(options) as service:
        letters = service.dead_letters()
    if options.json:
        print_json([asdict(each) for each in letters])
        return Exit.OK
    if not letters:
        print("no dead letters")
    for each in letters:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.at))
        print(f"{each.id}  {at}  {each.lane}  job {each.job_id}, item {each.index}: {each.name}")
    return Exit.OK


def _retry(options: argparse.Namespace) -> Exit:
    if bool(options.letters) == options.all:
        raise UsageError("give the ids of dead letters, or --all")
    with connect(options) as service:
        letters = options.letters or [each.id for each in service.dead_letters()]
        jobs = {letter: service.retry_dead_letter(letter).id for letter in letters}
    if options.json:
        print_json(jobs)
        return Exit.OK
    for letter, job_id in jobs.items():
        print(f"{letter}: job {job_id} runs again")
    return Exit.OK
