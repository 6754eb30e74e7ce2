"""`Idempotency-Key`: a POST that is sent again is answered with the job that it made before."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable

from flask import request

from shared.records.claims import AlreadyClaimed, Claim
from shared.errors import InvalidRequest
from web.http import auth
from web.submit.service import service

HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def claim(*asked: object) -> Claim | None:
    """The present request's claim; None where it carries no key. Raises InvalidRequest.

    `asked` is all that makes it this request and no other: options, names, digests.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise InvalidRequest(f"{HEADER}: 1 to 255 visible ASCII characters.")
    # The endpoint without `root.`: one call under two addresses.
    endpoint = (request.endpoint or "").removeprefix("root.")
    text = json.dumps([endpoint, *asked], default=str)
    return Claim(auth.owner(), key, hashlib.sha256(text.encode()).hexdigest())


def once(claim: Claim | None, make: Callable[[], str]) -> str:
    """Id of the job that a request makes, or has made before; also where two come at once."""
    try:
        if claim and (earlier := service().jobs.claimed(claim)):
            return earlier  # asked first, so that a full lane answers it too
        return make()
    except AlreadyClaimed as found:
        return found.job_id
