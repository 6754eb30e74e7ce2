"""The arguments of `image-classifier operator`."""

from __future__ import annotations

import argparse
from typing import Any

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
