"""Lines on the terminal. Names and messages come from others, so they are escaped."""

from __future__ import annotations

import json
import re
import sys

from ..api.paths import path_text
from ..errors import ImageClassifierError, Refused

#: Control characters, the ends of lines and paragraphs, controls of text direction, and half
#: characters. They could steer the terminal, forge a line or hide text.
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escaped(text: str) -> str:
    """The text on one line, with unsafe characters as `\\n`, `\\x1b` or `\\u202e`."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def print_line(text: str) -> None:
    print(escaped(text))


def print_error(text: str) -> None:
    print(escaped(text), file=sys.stderr, flush=True)


def print_json(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    print(_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def service_message(error: ImageClassifierError) -> str:
    """The message of an error, with the number under which the service's log has it."""
    request = isinstance(error, Refused) and error.request_id
    return f"{error} (request {request})" if request else str(error)


def disk_message(error: OSError) -> str:
    """The message of an error of the disk, with the file's name if it is known."""
    reason = error.strerror or type(error).__name__
    return f"{path_text(error.filename)}: {reason}" if isinstance(error.filename, str) else reason
