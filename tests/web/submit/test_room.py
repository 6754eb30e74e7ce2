"""Room that a request reserves when its head has come, corrects, and gives back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.errors import Overloaded
from shared.jobs import Lane
from tests.support.stored_jobs import SIZE, new_job
from tests.web.submit.asking import fits
from web.submit.admission import Admission
from web.submit.limits import Need


def test_reserved_room_is_promised_to_no_other_request(make: Callable[..., Admission]) -> None:
    admission = make()
    with admission.room() as one, admission.room() as other:
        one.fill(Lane.BULK, Need(6, 0))
        other.fill(Lane.BULK, Need(4, 0))
        assert not fits(admission)
    assert fits(admission, 10)


def test_the_head_of_a_request_reserves_one_image_and_no_bytes(
    make: Callable[..., Admission],
) -> None:
    admission = make(images=4, size=10 * SIZE)  # three of them are for jobs of several
    with admission.room() as slow:
        slow.reserve([Lane.INTERACTIVE], size=9 * SIZE)
        assert fits(admission, 2, lane=Lane.INTERACTIVE, size=10 * SIZE)
        assert not fits(admission, 3, lane=Lane.INTERACTIVE)


def test_a_request_whose_bytes_have_no_room_is_refused_by_its_head(
    make: Callable[..., Admission],
) -> None:
    admission = make(images=1000, size=10 * SIZE)
    admission.accept([new_job(8)])
    with admission.room() as room, pytest.raises(Overloaded):
        room.reserve([Lane.INTERACTIVE], size=3 * SIZE)


def test_a_reserved_place_is_used_even_if_the_lane_has_filled_up_since(
    make: Callable[..., Admission],
) -> None:
    admission = make()
    with admission.room() as room:
        room.reserve([Lane.BULK], size=0)
        admission.accept([new_job(12)])  # more than there was room for, by another way
        assert not fits(admission)
        room.fill(Lane.BULK, Need(1, SIZE))
        with pytest.raises(Overloaded):
            room.fill(Lane.BULK, Need(2, SIZE))


def test_what_a_request_has_reserved_does_not_stand_in_its_own_way(
    make: Callable[..., Admission],
) -> None:
    admission = make()
    with admission.room() as room:
        room.reserve([Lane.BULK], size=0)
        room.fill(Lane.BULK, Need(10, SIZE))
        room.fill(Lane.BULK, Need(10, SIZE))
        room.give_back()
        room.fill(Lane.BULK, Need(500, SIZE))  # nothing else is there


def test_the_first_lane_with_room_is_taken(make: Callable[..., Admission]) -> None:
    admission = make(images=1)
    both = [Lane.BULK, Lane.INTERACTIVE]
    with admission.room() as first, admission.room() as second, admission.room() as third:
        first.reserve(both, size=0)
        second.reserve(both, size=0)
        assert (first.lane, second.lane) == (Lane.BULK, Lane.INTERACTIVE)
        with pytest.raises(Overloaded):
            third.reserve(both, size=0)


def test_a_reservation_moves_with_its_request_to_another_lane(
    make: Callable[..., Admission],
) -> None:
    admission = make(images=1)
    with admission.room() as room:
        room.reserve([Lane.BULK], size=0)
        room.fill(Lane.INTERACTIVE, Need(1, 0))
        assert fits(admission, lane=Lane.BULK)
        assert not fits(admission, lane=Lane.INTERACTIVE)


def test_room_is_given_back_once_whatever_happens(make: Callable[..., Admission]) -> None:
    admission = make()
    with pytest.raises(KeyError), admission.room() as room:
        room.fill(Lane.BULK, Need(6, SIZE))
        room.give_back()
        room.give_back()
        room.fill(Lane.BULK, Need(4, SIZE))
        raise KeyError
    with admission.room() as other:
        other.fill(Lane.BULK, Need(9, SIZE))
        room.give_back()
        assert fits(admission, 1) and not fits(admission, 2)
