"""The arguments of `image-classifier operator`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from ...api.transport.connection import UNREADABLE
from ...errors import WrongAnswer
from ..exits import Exit
from . import dead_letters, jobs, lanes, workers


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "operator",
        parents=[common],
        help="operate the service: all jobs, lanes, workers, dead letters",
        description="Operate the service. IMAGE_CLASSIFIER_API_KEY needs the scope `operate`."
        " Without API keys, run this on the machine of the service.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for each in (jobs, lanes, dead_letters, workers):
        each.add_to(actions, common)
    for action in actions.choices.values():
        action.set_defaults(run=partial(_run, action.get_default("run")))


def _run(run: Callable[[argparse.Namespace], Exit], options: argparse.Namespace) -> Exit:
    """Run an action. Answers to an operator are JSON values, which it reads as the service's.

    Raises WrongAnswer if they have other fields.
    """
    try:
        return run(options)
    except UNREADABLE as error:
        raise WrongAnswer(options.url, error) from error
