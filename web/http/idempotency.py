"""`Idempotency-Key`: a POST that is sent again is answered with the job that it made before."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from werkzeug.datastructures import Headers

from shared.errors import InvalidRequest
from shared.records.claims import AlreadyClaimed, Claim
from shared.records.read import JobReader

HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


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
        without = self._fingerprint(asked, options)
        if not thumbnails:
            return Claim(self.owner, self.value, without)
        fingerprint = self._fingerprint(asked, options | {"thumbnails": True})
        return Claim(self.owner, self.value, fingerprint, without)

    def _fingerprint(self, asked: Sequence[object], options: Mapping[str, object]) -> str:
        more = {name: value for name, value in options.items() if value}
        text = json.dumps([self.call, *asked, *([more] if more else [])], default=str)
        return hashlib.sha256(text.encode()).hexdigest()


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
