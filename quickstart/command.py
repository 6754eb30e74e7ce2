"""What the commands of the quick start share: they read settings and report errors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from shared.errors import ClassifierError
from shared.settings import Settings


@contextmanager
def command(name: str) -> Iterator[Settings]:
    """Gives the settings to the body of a command.

    An expected error in the body ends the program with status 1 and one sentence, Ctrl-C with 130.
    """
    try:
        yield Settings()
    except ClassifierError as error:
        sys.exit(f"{name}: {error}")
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, p['loc'])).upper()}: {p['msg']}" for p in error.errors())
        sys.exit(f"{name}: {'; '.join(problems)}")
    except KeyboardInterrupt:
        sys.exit(130)
