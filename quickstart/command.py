"""What the commands of the quick start share: they read settings and report errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shared.errors import ClassifierError
from shared.settings import Settings


@contextmanager
def command(name: str) -> Iterator[Settings]:
    """Gives the settings to the body of a command.

    An expected error in the body ends the program with status 1 and one sentence, Ctrl-C with 130.
    """
    _open_standard_files()
    try:
        yield Settings()
    except ClassifierError as error:
        sys.exit(f"{name}: {error}")
    except ValidationError as error:
        sys.exit(f"{name}: {'; '.join(map(_problem, error.errors()))}")
    except KeyboardInterrupt:
        sys.exit(130)


def _problem(fault: ErrorDetails) -> str:
    setting = ".".join(map(str, fault["loc"])).upper()
    return f"{setting}: {fault['msg'].removeprefix('Value error, ')}"


def _open_standard_files() -> None:
    """Python sets a standard file to None if it is closed, and a later file gets its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            setattr(sys, name, os.fdopen(descriptor, "r" if number == 0 else "w"))
    # A locale that cannot show a character must not end the program.
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, TextIOWrapper):
            output.reconfigure(errors="backslashreplace")
