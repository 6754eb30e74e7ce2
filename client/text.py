"""Text from elsewhere: paths, names, labels and messages."""

from __future__ import annotations

import math
import os
import re

import httpx

#: Control characters, the ends of lines and paragraphs, controls of text direction, and half
#: characters. They could steer a terminal, forge a line or hide text.
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def address_of(url: httpx.URL) -> str:
    """The address as the user knows it, without a password."""
    return f"{url.scheme}://{url.netloc.decode()}"


def path_text(path: str) -> str:
    """A path as valid text. On a disk it is bytes; one that is not UTF-8 becomes `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def escaped(text: str) -> str:
    """The text on one line, with unsafe characters as `\\n`, `\\x1b` or `\\u202e`."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def escaped_json(text: str) -> str:
    """JSON with unsafe characters as `\\u001b`. They occur only inside strings."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def count_text(number: int, one: str, many: str = "") -> str:
    """`1 picture`, or `2,000 pictures`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def size_text(size: int) -> str:
    """Bytes as the service writes them: `25.8 MB`, or `46 KB`."""
    if size < 2**20:
        return f"{math.ceil(size / 2**10):,} KB"
    return f"{math.ceil(10 * size / 2**20) / 10:,.1f} MB"


def without_unsafe(text: str) -> str:
    """The text without unsafe characters."""
    return _UNSAFE.sub("", text)
