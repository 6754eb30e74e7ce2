"""Makes text from elsewhere safe for a terminal and for a log of lines."""

from __future__ import annotations

import re

#: Control characters, the ends of lines and paragraphs, controls of text direction, and half
#: characters. They could steer a terminal, forge a line or hide text.
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escaped(text: str) -> str:
    """The text on one line, with unsafe characters as `\\n`, `\\x1b` or `\\u202e`."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
