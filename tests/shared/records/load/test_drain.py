"""The speed of a lane, also in the first seconds after it was scaled from zero."""

from __future__ import annotations

import pytest

from shared.records.load import drain

#: A tenth of a second after a full one.
NOW = 1_000_000_000.1


@pytest.mark.parametrize(
    "counts, speed",
    [
        ([None] * 10, 0),  # no worker yet
        ([None] * 9 + [b"20"], 20),  # the first micro-batch
        ([None] * 8 + [b"30", b"3"], 30),  # the first second, and a tenth of the next
        ([None] * 5 + [b"30"] * 4 + [b"3"], 30),
        ([b"30"] * 9 + [b"3"], 30),
        ([b"30"] * 5 + [None] * 5, 150 / 9.1),  # it has stopped
    ],
)
def test_seconds_before_the_first_worker_do_not_make_a_lane_slower(
    counts: list[bytes | None], speed: float
) -> None:
    assert drain.rate(counts, NOW) == pytest.approx(speed)


@pytest.mark.parametrize(
    "counts, waited, speed",
    [
        ([None] * 6 + [b"30"] * 3 + [b"3"], 3.1, 93 / 3.1),
        ([b"30"] * 9 + [b"3"], 60, 273 / 9.1),
        ([None] * 6 + [b"30"] * 3 + [b"3"], 60, 30),  # the worker came while the job waited
        ([None] * 9 + [b"20"], 60, 20 / 9.1),  # too early to say
        ([None] * 4 + [b"32"] + [None] * 4 + [b"32"], 60, 32 / 4.1),  # micro-batches of 5 s
        ([None] * 4 + [b"32"] + [None] * 5, 60, 32 / 9.1),
    ],
)
def test_the_speed_for_a_job_counts_from_its_start_or_from_that_of_the_workers(
    counts: list[bytes | None], waited: float, speed: float
) -> None:
    assert drain.rate_since(counts, NOW - waited, NOW) == pytest.approx(speed)
