"""Asking for room: admission itself at the time of a test's own clock, or by a submission."""

from __future__ import annotations

import io

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from shared.errors import Overloaded
from shared.jobs import Lane
from tests.support.bodies import JPEG, Unreadable
from web.submit.admission import Admission
from web.submit.limits import Need


class Clock:
    """A monotonic clock that stands still until a test moves it on."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def ask(admission: Admission, images: int = 1, lane: Lane = Lane.BULK, size: int = 0) -> None:
    """Take room and give it back. Raises Overloaded."""
    with admission.room() as room:
        room.fill(lane, Need(images, size))


def fits(admission: Admission, images: int = 1, lane: Lane = Lane.BULK, size: int = 0) -> bool:
    try:
        ask(admission, images, lane, size)
    except Overloaded:
        return False
    return True


def submit(client: FlaskClient, images: int = 2, query: str = "") -> TestResponse:
    files = [(io.BytesIO(JPEG + b"%d" % k), f"{k}.jpg") for k in range(images)]
    return client.post(f"/jobs{query}", data={"files": files})


def unread(client: FlaskClient, path: str, length: int) -> TestResponse:
    return client.post(
        path,
        input_stream=Unreadable(bytes(length)),
        content_type="multipart/form-data; boundary=x",
    )
