"""One subscription for many waiting requests, on a real Redis."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from redis import Redis

from shared import keys
from web.follow import commit_listener
from web.follow.commit_listener import CommitListener, Waiter


@pytest.fixture
def notices() -> list[str]:
    """Job ids that the listener passed on."""
    return []


@pytest.fixture
def commits(redis: Redis, notices: list[str]) -> Iterator[CommitListener]:
    listener = CommitListener(redis, notices.append)
    assert listener.subscribed.wait(5)
    yield listener
    listener.close()


def start_wait(waiter: Waiter) -> threading.Thread:
    """Wait in a thread: 15 seconds, if nothing wakes the waiter earlier."""
    thread = threading.Thread(target=waiter.until, args=(lambda: "answer", 15))
    thread.start()
    return thread


def has_ended(thread: threading.Thread) -> bool:
    thread.join(timeout=7)
    return not thread.is_alive()


def test_the_end_of_a_job_wakes_its_waiter(
    commits: CommitListener, redis: Redis, notices: list[str]
) -> None:
    with commits.waiting("job") as waiter:
        wait = start_wait(waiter)
        redis.publish(keys.COMMITTED, "job completed")
        assert has_ended(wait)
    assert notices == ["job"]


def test_a_notice_may_carry_the_outcome(commits: CommitListener, redis: Redis) -> None:
    with commits.waiting("job") as waiter:
        redis.publish(keys.COMMITTED, 'job completed {"state": "succeeded"}')
        assert waiter.ended.wait(5)
        assert waiter.outcome == '{"state": "succeeded"}'


def test_a_cancellation_wakes_the_waiter(
    commits: CommitListener, redis: Redis, notices: list[str]
) -> None:
    with commits.waiting("job") as waiter:
        redis.publish(keys.COMMITTED, "job cancelled")
        assert waiter.ended.wait(5)
        assert waiter.outcome is None
    # Its message is still in the queue, so the next one may not leave yet.
    assert notices == []


def test_an_end_before_the_wait_began_is_not_missed(commits: CommitListener, redis: Redis) -> None:
    with commits.waiting("job") as waiter:
        redis.publish(keys.COMMITTED, "job completed")
        assert waiter.ended.wait(5)
        assert has_ended(start_wait(waiter))


@pytest.mark.parametrize("state", ["running", "a state of a later release"])
def test_other_jobs_and_unfinished_ones_wake_no_waiter(
    commits: CommitListener, redis: Redis, notices: list[str], state: str
) -> None:
    with commits.waiting("job") as waiter, commits.waiting("last") as last:
        redis.publish(keys.COMMITTED, "other completed")
        redis.publish(keys.COMMITTED, f"job {state}")
        redis.publish(keys.COMMITTED, "last completed")
        assert last.ended.wait(5)
        assert not waiter.ended.is_set()
    assert notices == ["other", "job", "last"]


def test_a_wait_ends_when_its_time_is_over(commits: CommitListener) -> None:
    with commits.waiting("job") as waiter:
        assert waiter.until(lambda: None, seconds=0.05) is None


def test_a_subscription_that_was_cut_comes_back_and_every_waiter_reads_again(
    commits: CommitListener, redis: Redis
) -> None:
    with commits.waiting("job") as waiter:
        wait = start_wait(waiter)
        redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        assert has_ended(wait)
    assert commits.subscribed.wait(5)
    with commits.waiting("next") as waiter:
        redis.publish(keys.COMMITTED, "next completed")
        assert waiter.ended.wait(5)


def test_nothing_is_kept_of_waiters_that_left(commits: CommitListener) -> None:
    with commits.waiting("job"), commits.waiting("job"):
        pass
    assert not commits._waiting


def test_closing_wakes_the_thread_at_once(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the wake-up the thread would sleep for a minute, and close waits 3 seconds for it.
    monkeypatch.setattr(commit_listener, "_PING_SECONDS", 60)
    listener = CommitListener(redis, lambda _: None)
    assert listener.subscribed.wait(5)
    listener.close()
    assert not listener._thread.is_alive()


def test_closing_ends_the_thread_in_an_outage_too() -> None:
    lost = threading.Event()
    away = Redis.from_url("redis://127.0.0.1:1/0")
    listener = CommitListener(away, lambda _: None, lost.set)
    assert lost.wait(5)
    listener.close()
    assert not listener._thread.is_alive()
