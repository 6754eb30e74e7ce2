"""The room that a request has reserved."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from shared.errors import TryLater
from shared.jobs import Lane
from shared.records.load.reservation import Reservation
from web.http.clients import Client
from web.submit.large_requests import LEAST_BYTES
from web.submit.limits import NOTHING, Need

if TYPE_CHECKING:
    from web.submit.admission import Admission


class Room:
    """Room that one request has reserved. Use it as a context manager around the request.

    It is given back at the end, whatever happens; giving it back earlier, or twice, is harmless. A
    request has room while its body is read and its images are stored, and none while its client
    waits for the answer: stored images are in the counts of the records.
    """

    def __init__(self, admission: Admission, client: Client) -> None:
        self._admission = admission
        self.client = client
        self.lane: Lane | None = None
        self.need = NOTHING
        self.staged = 0  #: Bytes of memory for its images that are stored and not accepted yet.
        self.reservation: Reservation | None = None

    def reserve(self, lanes: Sequence[Lane], *, size: int) -> None:
        """Reserve the place of one image in the first of `lanes` that has room for it.

        `size` is the length of the body in bytes. There must be room for it, but it is not
        reserved: a few slow uploads would otherwise refuse everybody else. Raises as
        `Admission.check` does.
        """
        *others, last = lanes
        for lane in others:
            with suppress(TryLater):
                self._admission.check(lane, Need(1, size, today=1), own=self)
                return self._set(lane, Need(1, today=1))
        self._admission.check(last, Need(1, size, today=1), own=self)
        self._set(last, Need(1, today=1))

    def fill(self, lane: Lane, need: Need) -> None:
        """Correct the reservation to what the request really needs.

        Only what is not reserved yet is asked for. Raises as `reserve` does, and RequestTooLarge if
        there can never be room for it beside others.
        """
        if need.size < LEAST_BYTES:
            self._admission.check(lane, need, own=self)
            return self._set(lane, need)
        self._admission.check_size(need)
        self._end_reservation()
        with self._admission.large_requests.asking(self.client.name, need.size) as self.reservation:
            self._admission.check(lane, need, own=self)
            self._set(lane, need)

    def note_staged(self, size: int) -> None:
        """Count memory that Redis has taken for the images, in bytes."""
        self.staged += size
        self._admission.count_staged(size)
        if self.reservation:
            self.reservation.note_stored(self.staged)

    def give_back(self) -> None:
        """Reserve nothing any more."""
        if self.lane:
            self._admission.note_stored(self)
            self._set(None, NOTHING)
        self._admission.count_staged(-self.staged)
        self.staged = 0
        self._end_reservation()

    def _end_reservation(self) -> None:
        reservation, self.reservation = self.reservation, None
        if reservation:
            reservation.end()

    def _set(self, lane: Lane | None, need: Need) -> None:
        self._admission.count(self, -1)
        self.lane, self.need = lane, need
        self._admission.count(self, 1)

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()
