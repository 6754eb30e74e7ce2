"""`image-classifier usage`: what your client has outstanding, and its limits."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ..text import count_text, size_text
from .connect import connect
from .exits import Exit
from .output import print_json, print_line


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "usage", parents=[common], help="what you have outstanding, and the limits of your API key"
    )
    parser.set_defaults(run=_usage)


def _usage(options: argparse.Namespace) -> Exit:
    with connect(options) as service:
        usage = service.usage()
    if options.json:
        print_json(asdict(usage))
        return Exit.OK
    limits = usage.limits
    lanes = ", ".join(f"{number:,} {lane}" for lane, number in usage.outstanding_images.items())
    ends = time.strftime("%Y-%m-%d %H:%M", time.localtime(usage.day_ends_at))
    print_line(f"client       {usage.client}")
    print_line(f"outstanding  {lanes}{_limit(limits.images)}")
    print_line(f"held         {size_text(usage.bytes_held)}{_limit(limits.bytes, size_text)}")
    print_line(f"kept         about {size_text(usage.bytes_kept)} of records and results")
    today = f"{count_text(usage.images_today, 'picture')}{_limit(limits.images_per_day)}"
    print_line(f"today        {today}; a new day begins at {ends}")
    return Exit.OK


def _limit(limit: int | None, text: Callable[[int], str] = "{:,}".format) -> str:
    return "" if limit is None else f", at most {text(limit)}"
