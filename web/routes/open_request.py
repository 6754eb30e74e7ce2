"""Reads the JSON that opens a job. It may have half a million digests."""

from __future__ import annotations

from flask import request

from shared.errors import InvalidRequest, RequestTooLarge
from web.routes.backend import backend
from web.schemas.submission import OpenRequest, largest_open_request
from web.server.fairness.pacing import Queue

#: Values in the JSON that opens a job, beside digests. It has few fields.
_MOST_FIELDS = 100

#: What each field, list and object in JSON has once.
_NESTED = (b":", b"[", b"{")

#: JSON with many digests is read at once: half a million take a quarter of a second, in which no
#: other client is served. So such bodies wait for each other, each for ten times as long as that.
#: Those of up to some 4,000 digests do not wait for larger ones.
_many_digests, _some_digests = Queue(), Queue()
_FEW_BYTES, _BYTES_A_SECOND = 2**14, 15_000_000
#: Larger bodies must be ASCII.
_SMALL_BYTES = 2**18


def open_request() -> OpenRequest:
    """Raises InvalidRequest, RequestTooLarge, and ValidationError of pydantic."""
    pictures = backend().settings.max_job_images
    most = largest_open_request(pictures)
    request.max_content_length = most
    data = request.get_data(cache=False)
    if len(data) == most:  # Werkzeug cuts a body off there if it comes in chunks
        raise RequestTooLarge
    if len(data) > _FEW_BYTES:
        digests = _many_digests if len(data) > _SMALL_BYTES else _some_digests
        digests.wait(len(data) / _BYTES_A_SECOND)
    # A single other character makes a text take four times the memory.
    if len(data) > _SMALL_BYTES and not data.isascii():
        raise InvalidRequest("A body of more than 256 KB must be in ASCII.")
    # Ten million empty lists take seconds and gigabytes, and so do errors for many fields.
    # Half a million of them already hold up all clients for a quarter of a second.
    if data.count(b",") > pictures + _MOST_FIELDS or max(map(data.count, _NESTED)) > _MOST_FIELDS:
        raise InvalidRequest(f"The body has too many values. A job may have {pictures} digests.")
    return OpenRequest.model_validate_json(data)
