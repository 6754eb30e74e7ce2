"""`Idempotency-Key`: a POST that is sent again is answered with the job that it made before."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from werkzeug.datastructures import Headers

from shared.errors import InvalidRequest
from shared.records.claims import AlreadyClaimed, Claim
from shared.records.read import JobReader
from web.server.fairness.rests import Breaks

HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")

#: So many values of a list become JSON at once.
_AT_ONCE = 1000


class Key(NamedTuple):
    """The key that a request carries."""

    owner: str  #: Name of the API key; empty if keys are off.
    call: str  #: Stable name of the call: it is part of what is stored.
    value: str

    def claim(self, *asked: object, thumbnails: bool = False, **options: object) -> Claim:
        """The claim of this request. `asked` has all that is its own: options, names, digests.

        `options` were added by later releases. One that is 0 or empty is left out, so that a client
        can send a request of an earlier release again.
        """
        text = hashlib.sha256()
        for piece in _json_pieces([self.call, *asked]):
            text.update(piece.encode())
        without = _fingerprint(text, options)
        if not thumbnails:
            return Claim(self.owner, self.value, without)
        return Claim(
            self.owner, self.value, _fingerprint(text, options | {"thumbnails": True}), without
        )


def _fingerprint(text: hashlib._Hash, options: Mapping[str, object]) -> str:
    more = {name: value for name, value in options.items() if value}
    whole = text.copy()
    whole.update((f", {json.dumps(more, default=str)}]" if more else "]").encode())
    return whole.hexdigest()


def _json_pieces(values: Sequence[object]) -> Iterator[str]:
    """The JSON of a list, without its end. Others run in between, because a list in it may be long.

    Claims of earlier releases are of the same text, so a change would refuse requests that are sent
    again.
    """
    breaks = Breaks()
    for number, value in enumerate(values):
        yield ", " if number else "["
        if not isinstance(value, list):
            yield json.dumps(value, default=str)
            continue
        yield "["
        for start in range(0, len(value), _AT_ONCE):
            breaks.take()
            yield ", " if start else ""
            yield json.dumps(value[start : start + _AT_ONCE], default=str)[1:-1]
        yield "]"


def key_of(headers: Headers, owner: str, call: str) -> Key | None:
    """The key of a request; None if it carries none. Raises InvalidRequest."""
    value = headers.get(HEADER)
    if value is None:
        return None
    if not _KEY.fullmatch(value):
        raise InvalidRequest(f"{HEADER}: send 1 to 255 visible ASCII characters.")
    return Key(owner, call, value)


def once(jobs: JobReader, claim: Claim | None, make: Callable[[], str]) -> str:
    """Id of the job that a request makes or has made before, also if two come at once."""
    try:
        if claim and (earlier := jobs.claimed(claim)):
            return earlier  # before `make`, so that a full lane answers it too
        return make()
    except AlreadyClaimed as earlier_job:
        return earlier_job.job_id
