"""One subscription, many who wait; a real Redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from redis import Redis

from shared import keys
from web.follow.commit_listener import CommitListener


@pytest.fixture
def commits(redis: Redis) -> Iterator[CommitListener]:
    listener = CommitListener(redis, heard.append)
    assert listener.subscribed.wait(5)
    yield listener
    listener.close()
    heard.clear()


heard: list[str] = []


def test_a_waiter_is_woken_by_the_end_of_its_job(commits: CommitListener, redis: Redis) -> None:
    with commits.waiting("job") as waiter:
        threading.Timer(0.1, redis.publish, [keys.COMMITTED, "job completed"]).start()
        started = time.monotonic()
        assert waiter.until(lambda: "answer", seconds=5) == "answer"
        assert time.monotonic() - started < 1
    assert heard == ["job"]


def test_a_waiter_is_woken_by_a_cancellation(commits: CommitListener, redis: Redis) -> None:
    with commits.waiting("job") as waiter:
        redis.publish(keys.COMMITTED, "job cancelled")
        assert waiter.ended.wait(1)
        assert waiter.told is None
    assert heard == ["job"]  # so its message counts as finished, and the next may leave


def test_an_end_before_the_wait_began_is_not_missed(commits: CommitListener, redis: Redis) -> None:
    with commits.waiting("job") as waiter:
        redis.publish(keys.COMMITTED, "job completed")
        assert waiter.ended.wait(1)
        started = time.monotonic()
        assert waiter.until(lambda: "answer", seconds=5) == "answer"
        assert time.monotonic() - started < 0.1


def test_other_jobs_and_unfinished_ones_wake_nobody(commits: CommitListener, redis: Redis) -> None:
    with commits.waiting("job") as waiter:
        redis.publish(keys.COMMITTED, "other completed")
        redis.publish(keys.COMMITTED, "job running")
        assert not waiter.ended.wait(0.2)
    assert heard == ["other", "job"]


def test_a_wait_ends_in_time(commits: CommitListener) -> None:
    with commits.waiting("job") as waiter:
        started = time.monotonic()
        assert waiter.until(lambda: None, seconds=0.2) is None
        assert time.monotonic() - started < 0.5


def test_a_cut_subscription_comes_back_and_everyone_looks_again(
    commits: CommitListener, redis: Redis
) -> None:
    with commits.waiting("job") as waiter:
        redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        started = time.monotonic()
        assert waiter.until(lambda: "answer", seconds=10) == "answer"
        assert time.monotonic() - started < 3
    assert commits.subscribed.wait(3)
    with commits.waiting("next") as waiter:
        redis.publish(keys.COMMITTED, "next completed")
        assert waiter.ended.wait(1)


def test_nothing_is_kept_of_those_who_left(commits: CommitListener) -> None:
    with commits.waiting("job"), commits.waiting("job"):
        pass
    assert not commits._waiting
