"""API keys: a file of names and hashes. `python -m web.http.api_keys NAME` makes a key.

A line of the file is `name:sha256`. Blank lines and `#` comments are allowed. A name may stand in
several lines, so that a key can be replaced without a gap. Add a line with the new key, move the
clients to it, then remove the line with the old key. A key is 256 random bits. Nobody can guess it,
so a fast hash protects it as well as a slow one.
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

#: By this prefix people and secret scanners know such a key.
_PREFIX = "imgc_"

_NAME = r"[A-Za-z0-9._-]{1,64}"
_LINE = re.compile(rf"({_NAME}):([0-9a-f]{{64}})")


class _Key(NamedTuple):
    name: str
    digest: str  #: SHA-256 of the key, hex.


class ApiKeys:
    """The keys of a file, which is read again when it changes."""

    def __init__(self, path: Path) -> None:
        """Raises OSError if the file cannot be read, and InvalidRequest if it is malformed."""
        self._path = path
        self._stamp = _stamp(path)
        self._keys = _read(path)

    def name_of(self, key: str) -> str | None:
        """The name of a key; None if the file does not have it. Takes equally long for each key."""
        self._refresh()
        digest = _digest(key)
        name = None
        for each in self._keys:
            if hmac.compare_digest(each.digest, digest):
                name = each.name
        return name

    def _refresh(self) -> None:
        """Read the file again if it has changed. While it cannot be read, its last keys stay."""
        try:
            stamp = _stamp(self._path)
            if stamp == self._stamp:
                return
            self._stamp = stamp
            self._keys = _read(self._path)
        except (OSError, InvalidRequest) as error:
            logger.error("cannot read the API keys again, so the old ones stay: %s", error)
        else:
            logger.info("read %d API keys again", len(self._keys))


def new_key() -> str:
    return _PREFIX + secrets.token_urlsafe(32)


def line(name: str, key: str) -> str:
    """The line of the file for a key."""
    return f"{name}:{_digest(key)}"


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_ino, status.st_size


def _read(path: Path) -> tuple[_Key, ...]:
    keys = []
    for number, text in enumerate(path.read_text(errors="replace").splitlines(), 1):
        text = text.partition("#")[0].strip()
        if not text:
            continue
        match = _LINE.fullmatch(text)
        if not match:  # the message does not quote the line, which may hold a key by mistake
            raise InvalidRequest(
                f"{path}, line {number} is not `name:sha256` with a hash in lower-case hex. "
                "`python -m web.http.api_keys NAME` prints a line."
            )
        keys.append(_Key(*match.groups()))
    return tuple(keys)


def main() -> None:
    """Make a key. Print it to standard error, and its line of the file to standard output."""
    if len(sys.argv) != 2 or not re.fullmatch(_NAME, sys.argv[1]):
        sys.exit("usage: python -m web.http.api_keys NAME >> KEYS_FILE")
    key = new_key()
    print(f"The key, which is shown only once: {key}", file=sys.stderr, flush=True)
    print(line(sys.argv[1], key), flush=True)
    if os.isatty(sys.stdout.fileno()):
        print("Add the second line to API_KEYS_FILE. No restart is needed.", file=sys.stderr)


if __name__ == "__main__":
    main()
