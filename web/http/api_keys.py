"""API keys: a file of names and hashes, and `python -m web.http.api_keys NAME` to make one.

A line is `name:sha256`, blank lines and `#` comments are allowed. A name may stand twice, so that
a key is rotated without a gap: add the new line, move the clients, remove the old line. A key is
256 random bits, which nobody guesses, so a plain fast hash protects it as well as a slow one.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import sys
from pathlib import Path
from typing import NamedTuple

from shared.errors import InvalidRequest

logger = logging.getLogger(__name__)

#: Tells people and secret scanners what it is.
_PREFIX = "imgc_"

_NAME = r"[A-Za-z0-9._-]{1,64}"
_LINE = re.compile(rf"({_NAME}):([0-9a-f]{{64}})")


class _Key(NamedTuple):
    name: str
    digest: str  #: SHA-256 of the key, hex.


class ApiKeys:
    """The keys of a file, re-read when it changes."""

    def __init__(self, path: Path) -> None:
        """Raises OSError or InvalidRequest where the file is missing or malformed."""
        self._path = path
        self._stamp = _stamp(path)
        self._keys = _read(path)

    def name_of(self, key: str) -> str | None:
        """Whose key this is; None where it is nobody's. Takes equally long for all."""
        self._refresh()
        digest = _digest(key)
        found = None
        for each in self._keys:
            if hmac.compare_digest(each.digest, digest):
                found = each.name
        return found

    def _refresh(self) -> None:
        """A file that is being replaced, or was spoilt, must not lock everybody out."""
        try:
            stamp = _stamp(self._path)
            if stamp == self._stamp:
                return
            self._stamp = stamp
            self._keys = _read(self._path)
        except (OSError, InvalidRequest) as error:
            logger.error("the API keys stay as they were: %s", error)
        else:
            logger.info("API keys read again: %d", len(self._keys))


def new_key() -> str:
    return _PREFIX + secrets.token_urlsafe(32)


def line(name: str, key: str) -> str:
    """What stands in the file for a key."""
    return f"{name}:{_digest(key)}"


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(path: Path) -> tuple[_Key, ...]:
    keys = []
    for number, text in enumerate(path.read_text(errors="replace").splitlines(), 1):
        text = text.partition("#")[0].strip()
        if not text:
            continue
        found = _LINE.fullmatch(text)
        if not found:  # not quoted: somebody may have put a key there
            raise InvalidRequest(f"{path}, line {number}: not `name:sha256` in lower-case hex")
        keys.append(_Key(*found.groups()))
    return tuple(keys)


def main() -> None:
    """Make a key: the key goes to standard error, once, its line to standard output."""
    if len(sys.argv) != 2 or not re.fullmatch(_NAME, sys.argv[1]):
        sys.exit("usage: python -m web.http.api_keys NAME >> KEYS_FILE")
    key = new_key()
    print(f"The key, shown once: {key}", file=sys.stderr, flush=True)
    print(line(sys.argv[1], key), flush=True)
    if os.isatty(sys.stdout.fileno()):
        print("Add the second line to API_KEYS_FILE; no restart is needed.", file=sys.stderr)


if __name__ == "__main__":
    main()
