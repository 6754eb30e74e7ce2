"""How often a feed reads its job, by a clock of the test."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from redis.exceptions import ConnectionError, RedisError

from shared.breaker import Breaker
from shared.jobs import Item, ItemState, Job
from web.follow.job_feed import JobFeed, Pages


class Jobs:
    """A reader of records that counts. It has one job, of which `done` items have finished."""

    def __init__(self) -> None:
        self.reads = 0
        self.page_reads = 0
        self.done = 0
        self.away = False

    def get(self, job_id: str) -> Job:
        self.reads += 1
        if self.away:
            raise ConnectionError("away")
        return None  # type: ignore[return-value]

    def finished(self, job_id: str, start: int, stop: int) -> Sequence[int]:
        self.page_reads += 1
        return range(self.done)[start:stop]

    def items_at(self, job_id: str, indexes: Sequence[int]) -> list[Item]:
        return [
            Item(index=k, name="", custom_id=None, outcome=None, state=ItemState.QUEUED)
            for k in indexes
        ]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def feed(jobs: Any, clock: Clock) -> JobFeed:
    feed = JobFeed(jobs, "job", lambda job: b"{}", Breaker(1.0), Pages(), clock)
    clock.now += 1
    return feed


def test_a_busy_job_is_read_four_times_a_second(feed: JobFeed, jobs: Jobs, clock: Clock) -> None:
    for _ in range(500):  # a commit each 20 ms for 10 s, and a stream that reads at every chance
        clock.now += 0.02
        feed.on_notice()
        feed.snapshot()
    assert 30 <= jobs.reads <= 41


def test_a_job_without_notices_is_read_each_five_seconds(
    feed: JobFeed, jobs: Jobs, clock: Clock
) -> None:
    for _ in range(600):
        clock.now += 0.1
        feed.snapshot()
    assert 11 <= jobs.reads <= 13


def test_a_stream_may_sleep_until_the_next_read_is_due(feed: JobFeed, clock: Clock) -> None:
    assert feed.seconds_until_due() == 0
    feed.snapshot()
    assert feed.seconds_until_due() == pytest.approx(5)
    clock.now += 0.1
    feed.on_notice()
    assert feed.seconds_until_due() == pytest.approx(0.15)


def test_a_notice_wakes_every_stream_once_until_the_job_is_read(
    feed: JobFeed, clock: Clock
) -> None:
    streams = [threading.Event() for _ in range(3)]
    feed.followers.update(streams)
    feed.snapshot()
    clock.now += 1
    for expected in (True, False):
        feed.on_notice()
        assert {each.is_set() for each in streams} == {expected}
        for each in streams:
            each.clear()
    clock.now += 1
    feed.snapshot()
    clock.now += 1
    feed.on_notice()
    assert all(each.is_set() for each in streams)


def test_a_page_is_read_once_for_all_streams_that_are_at_the_same_place(
    feed: JobFeed, jobs: Jobs, clock: Clock
) -> None:
    jobs.done = 100
    snapshot = feed.snapshot()
    for _ in range(30):
        first = feed.page(0, snapshot)
        second = feed.page(first.stop, snapshot)
    assert (first.start, first.stop, second.start, second.stop) == (0, 64, 64, 100)
    assert jobs.page_reads == 2


def test_the_pages_of_many_jobs_are_bounded_together(jobs: Any, clock: Clock) -> None:
    jobs.done, pages = 640, Pages()
    for number in range(50):
        feed = JobFeed(jobs, str(number), lambda job: b"{}", Breaker(1.0), pages, clock)
        for start in range(0, 640, 64):
            feed.page(start, feed.snapshot())
    assert len(pages) == 64


def test_a_page_that_is_not_full_is_read_again_after_the_next_snapshot(
    feed: JobFeed, jobs: Jobs, clock: Clock
) -> None:
    jobs.done = 3
    assert feed.page(0, feed.snapshot()).stop == 3
    jobs.done = 5
    clock.now += 1
    feed.on_notice()
    clock.now += 1
    assert feed.page(0, feed.snapshot()).stop == 5


def test_in_an_outage_one_stream_asks_and_the_others_hear_of_it(feed: JobFeed, jobs: Jobs) -> None:
    jobs.away = True
    for _ in range(30):
        with pytest.raises(RedisError):
            feed.snapshot()
    assert jobs.reads == 1
