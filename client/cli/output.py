"""Output of the command. Names, labels and messages come from others, so they are escaped."""

from __future__ import annotations

import json
import sys

from ..errors import ImageClassifierError, Refused
from ..text import escaped, escaped_json, path_text


def print_line(text: str) -> None:
    print(escaped(text))


def print_error(text: str) -> None:
    print(escaped(text), file=sys.stderr, flush=True)


def print_json(value: object) -> None:
    print(escaped_json(json.dumps(value, ensure_ascii=False)))


def service_message(error: ImageClassifierError) -> str:
    """The message of an error, with the id that the service's log has for the request."""
    request = isinstance(error, Refused) and error.request_id
    return f"{error} (request {request})" if request else str(error)


def disk_message(error: OSError) -> str:
    """The message of an error of the disk, with the file's name if the error has it."""
    reason = error.strerror or type(error).__name__
    return f"{path_text(error.filename)}: {reason}" if isinstance(error.filename, str) else reason
