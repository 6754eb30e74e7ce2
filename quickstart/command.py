"""What the quick start's commands share: settings in, and a sentence where they fail."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from shared.errors import ClassifierError
from shared.settings import Settings


@contextmanager
def command(name: str) -> Iterator[Settings]:
    """The settings for a command's body, whose expected errors end it with status 1, in words."""
    try:
        yield Settings()
    except ClassifierError as error:
        sys.exit(f"{name}: {error}")
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, p['loc'])).upper()}: {p['msg']}" for p in error.errors())
        sys.exit(f"{name}: {'; '.join(problems)}")
    except KeyboardInterrupt:
        sys.exit(130)
