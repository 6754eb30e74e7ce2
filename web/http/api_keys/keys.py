"""The file of API keys.

A line is `name:sha256`, and fields after it (`line.py`). Blank lines and `#` comments are allowed.
A name may stand in several lines, so that a key can be replaced without a gap. Add a line with the
new key, move the clients to it, then remove the line with the old key. A key is 256 random bits.
Nobody can guess it, so a fast hash protects it as well as a slow one.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

from shared.errors import InvalidRequest
from web.http.api_keys.key import ApiKey, Limits
from web.http.api_keys.line import parse

logger = logging.getLogger(__name__)

#: By this prefix people and secret scanners know such a key.
_PREFIX = "imgc_"


class ApiKeys:
    """The keys of a file, which is read again when it changes."""

    def __init__(self, path: Path) -> None:
        """Raises OSError if the file cannot be read, and InvalidRequest if it is malformed."""
        self._path = path
        self._stamp = _stamp(path)
        self._keys = _read(path)

    def find(self, key: str) -> ApiKey | None:
        """A key, which may have expired; None if the file does not have it.

        Takes equally long for each key.
        """
        self._refresh()
        digest = _digest(key)
        match = None
        for each in self._keys:
            if hmac.compare_digest(each.digest, digest):
                match = each
        return match

    def limits(self) -> Mapping[str, Limits]:
        """The limits of each name."""
        self._refresh()
        return {each.name: each.limits for each in self._keys}

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


def line(name: str, key: str, *fields: str) -> str:
    """The line of the file for a key. A field is `name=value`."""
    return " ".join((f"{name}:{_digest(key)}", *fields))


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_ino, status.st_size


def _read(path: Path) -> tuple[ApiKey, ...]:
    first: dict[str, tuple[int, ApiKey]] = {}
    keys = []
    for number, text in _lines(path):
        try:
            key = parse(text)
        except ValueError as error:
            raise InvalidRequest(f"{path}, line {number} {error}") from None
        before, other = first.setdefault(key.name, (number, key))
        if other.limits != key.limits:
            raise InvalidRequest(
                f"{path}, line {number} gives `{key.name}` other limits than line {before}. "
                "All lines of one name have the same limits and weight."
            )
        keys.append(key)
    return tuple(keys)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Each line that has a key, with its number."""
    for number, text in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if text := text.partition("#")[0].strip():
            yield number, text
