"""Jobs that are accepted together and leave as one message."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.jobs import PART_SIZE, Lane, NewItem, NewJob
from web.submit.coalescer import Coalescer


class Sent:
    """Messages as they left."""

    def __init__(self) -> None:
        self.messages: list[list[str]] = []
        self.late: list[str] = []  #: Jobs that wait for their rounds.
        self.error: Exception | None = None

    def __call__(self, jobs: Sequence[NewJob], *, at_once: bool) -> None:
        if self.error:
            raise self.error
        names = [job.id for job in jobs]
        if at_once:
            self.messages.append(names)
        else:
            self.late += names


def new_job(job_id: str, images: int = 1, client: str = "") -> NewJob:
    items = [NewItem(name="", digest="", data=b"")] * images
    return NewJob(id=job_id, lane=Lane.INTERACTIVE, top_k=5, items=items, client=client)


def submit_in_thread(
    coalescer: Coalescer, job_id: str, images: int = 1, client: str = ""
) -> threading.Thread:
    thread = threading.Thread(target=coalescer.submit, args=[new_job(job_id, images, client)])
    thread.start()
    return thread


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def gathering(coalescer: Coalescer) -> int:
    return len(coalescer._waiting)


def may_leave(coalescer: Coalescer) -> bool:
    """Whether the first job that gathers has been let go."""
    return coalescer._waiting[0].woken.is_set()


def test_an_idle_service_accepts_a_job_at_once() -> None:
    sent = Sent()
    coalescer = Coalescer(sent, max_unfinished=1)
    coalescer.submit(new_job("a"))
    assert sent.messages == [["a"]]


def test_jobs_gather_while_messages_are_unfinished_and_leave_together() -> None:
    sent = Sent()
    coalescer = Coalescer(sent, max_unfinished=1, patience_seconds=60)
    coalescer.submit(new_job("first"))
    threads = []
    for k in range(40):
        threads.append(submit_in_thread(coalescer, f"m{k}"))
        until(lambda: gathering(coalescer) == k + 1)
    assert len(sent.messages) == 1

    coalescer.on_work_done("first")
    until(lambda: len(sent.messages) == 2)
    assert sent.messages[1] == [f"m{k}" for k in range(32)]

    for job_id in sent.messages[1]:
        coalescer.on_work_done(job_id)
    until(lambda: len(sent.messages) == 3)
    assert sent.messages[2] == [f"m{k}" for k in range(32, 40)]
    for thread in threads:
        thread.join(timeout=5)
        assert not thread.is_alive()


def test_gathered_jobs_wait_for_one_that_is_expected() -> None:
    sent = Sent()
    coalescer = Coalescer(sent, max_unfinished=1, patience_seconds=60, expected_seconds=60)
    with coalescer.expecting():
        threads = [submit_in_thread(coalescer, "a")]
        until(lambda: gathering(coalescer) == 1)
        with coalescer.expecting():
            threads.append(submit_in_thread(coalescer, "b"))
            until(lambda: gathering(coalescer) == 2)
        assert not may_leave(coalescer)
    until(lambda: sent.messages == [["a", "b"]])
    for thread in threads:
        thread.join(timeout=5)


def test_gathered_jobs_are_shared_out_among_the_messages_that_may_leave() -> None:
    sent = Sent()
    coalescer = Coalescer(sent, max_unfinished=3, patience_seconds=60, expected_seconds=60)
    coalescer.submit(new_job("first"))
    names = ["a", "b", "c", "d", "e"]
    threads = []
    with coalescer.expecting():
        for k, name in enumerate(names):
            threads.append(submit_in_thread(coalescer, name))
            until(lambda: gathering(coalescer) == k + 1)
    until(lambda: sorted(sent.messages) == [["a", "b", "c"], ["d", "e"], ["first"]])
    for thread in threads:
        thread.join(timeout=5)


def test_a_job_leaves_soon_although_another_one_is_always_expected() -> None:
    """A client with hundreds of cached pictures delayed each picture of another by two seconds."""
    sent = Sent()
    coalescer = Coalescer(sent, max_unfinished=1, patience_seconds=60)

    def sent_while_others_ask() -> bool:
        with coalescer.expecting():
            return bool(sent.messages)

    with coalescer.expecting():
        thread = submit_in_thread(coalescer, "a")
        until(sent_while_others_ask)
    thread.join(timeout=5)


def test_a_message_is_unfinished_until_its_last_job_is_committed() -> None:
    sent = Sent()
    coalescer = Coalescer(sent, max_unfinished=1, patience_seconds=60)
    coalescer.submit(new_job("first"))
    threads = [submit_in_thread(coalescer, name) for name in ("a", "b")]
    until(lambda: gathering(coalescer) == 2)
    coalescer.on_work_done("first")
    until(lambda: len(sent.messages) == 2)
    threads.append(submit_in_thread(coalescer, "c"))
    until(lambda: gathering(coalescer) == 1)

    coalescer.on_work_done("a")
    assert not may_leave(coalescer)
    coalescer.on_work_done("b")
    until(lambda: sent.messages[2:] == [["c"]])
    for thread in threads:
        thread.join(timeout=5)


def test_a_job_leaves_when_its_patience_ends_even_if_a_notice_was_lost() -> None:
    sent = Sent()
    coalescer = Coalescer(sent, max_unfinished=1, patience_seconds=0.05)
    coalescer.submit(new_job("never committed"))
    coalescer.submit(new_job("a"))
    assert sent.messages[1:] == [["a"]]


def test_a_job_does_not_gather_long_behind_a_message_that_waits() -> None:
    """The message may wait behind a large part. Then the wait would double."""
    sent = Sent()
    coalescer = Coalescer(sent, max_unfinished=1, patience_seconds=60)
    coalescer.submit(new_job("slow"))
    coalescer._under_way[0].sent_at -= 16
    thread = submit_in_thread(coalescer, "a")
    until(lambda: sent.messages == [["slow"], ["a"]])
    thread.join(timeout=5)


def test_a_full_job_leaves_alone() -> None:
    sent = Sent()
    coalescer = Coalescer(sent, max_unfinished=1, patience_seconds=60)
    coalescer.submit(new_job("first"))
    threads = [submit_in_thread(coalescer, "one")]
    until(lambda: gathering(coalescer) == 1)
    threads.append(submit_in_thread(coalescer, "full", images=32))
    until(lambda: gathering(coalescer) == 2)
    coalescer.on_work_done("first")
    coalescer.on_work_done("one")
    until(lambda: len(sent.messages) == 2)
    coalescer.on_work_done("one")
    until(lambda: sent.messages[1:] == [["one"], ["full"]])
    for thread in threads:
        thread.join(timeout=5)


def test_all_jobs_of_a_message_hear_that_it_could_not_be_accepted() -> None:
    sent = Sent()
    coalescer = Coalescer(sent, max_unfinished=1, patience_seconds=60)
    coalescer.submit(new_job("first"))
    heard: list[str] = []

    def submit(job_id: str) -> None:
        with pytest.raises(ConnectionError):
            coalescer.submit(new_job(job_id))
        heard.append(job_id)

    threads = [threading.Thread(target=submit, args=[name]) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    until(lambda: gathering(coalescer) == 2)
    sent.error = ConnectionError("gone")
    coalescer.on_work_done("first")
    for thread in threads:
        thread.join(timeout=5)
    assert sorted(heard) == ["a", "b"]


def test_a_message_that_could_not_be_accepted_is_not_unfinished() -> None:
    sent = Sent()
    coalescer = Coalescer(sent, max_unfinished=1, patience_seconds=60)
    sent.error = ConnectionError("gone")
    with pytest.raises(ConnectionError):
        coalescer.submit(new_job("a"))
    sent.error = None
    coalescer.submit(new_job("b"))
    assert sent.messages == [["b"]]


def test_in_an_outage_all_that_gather_fail_at_once() -> None:
    sent = Sent()
    coalescer = Coalescer(sent, max_unfinished=1, patience_seconds=60)
    coalescer.submit(new_job("first"))
    errors: list[Exception] = []

    def submit(job_id: str) -> None:
        with pytest.raises(RedisConnectionError) as error:
            coalescer.submit(new_job(job_id))
        errors.append(error.value)

    threads = [threading.Thread(target=submit, args=[f"{k}"]) for k in range(50)]
    for thread in threads:
        thread.start()
    until(lambda: gathering(coalescer) == 50)
    coalescer.on_outage()
    for thread in threads:
        thread.join(timeout=5)
    assert len(errors) == 50
    assert sent.messages == [["first"]]


def gather(coalescer: Coalescer, jobs: Iterable[tuple[str, str]]) -> list[threading.Thread]:
    """Submit jobs, given as id and client, one after the other."""
    threads = []
    for job_id, client in jobs:
        before = gathering(coalescer)
        threads.append(submit_in_thread(coalescer, job_id, client=client))
        until(lambda: gathering(coalescer) == before + 1)
    return threads


def test_clients_share_a_message_in_turn() -> None:
    sent = Sent()
    coalescer = Coalescer(sent, max_unfinished=1, patience_seconds=60)
    coalescer.submit(new_job("first"))
    jobs = [(f"flood {k}", "flood") for k in range(40)] + [("a", "a"), ("b0", "b"), ("b1", "b")]
    threads = gather(coalescer, jobs)
    coalescer.on_work_done("first")
    until(lambda: len(sent.messages) == 2)
    assert sent.messages[1][:5] == ["flood 0", "a", "b0", "flood 1", "b1"]
    for job_id in sent.messages[1]:
        coalescer.on_work_done(job_id)
    for thread in threads:
        thread.join(timeout=5)


def test_a_client_may_have_a_micro_batch_in_the_queue() -> None:
    sent = Sent()
    coalescer = Coalescer(sent, max_unfinished=100, patience_seconds=60)
    for k in range(PART_SIZE):
        coalescer.submit(new_job(f"{k}", client="flood"))
    threads = gather(coalescer, [("more", "flood"), ("even more", "flood")])
    coalescer.submit(new_job("other", client="other"))
    assert sent.messages[-1] == ["other"]
    coalescer.on_work_done("7")
    until(lambda: sent.messages[-1] == ["more"])
    coalescer.on_work_done("8")
    until(lambda: sent.messages[-1] == ["even more"])
    for thread in threads:
        thread.join(timeout=5)
    assert not sent.late


def test_a_job_of_a_client_with_all_that_it_may_have_waits_for_its_round() -> None:
    """It waits there instead of here, and is accepted."""
    sent = Sent()
    coalescer = Coalescer(sent, max_unfinished=100, patience_seconds=0.05)
    for k in range(PART_SIZE):
        coalescer.submit(new_job(f"{k}", client="flood"))
    coalescer.submit(new_job("more", client="flood"))
    assert sent.late == ["more"]
    coalescer.on_work_done("more")  # it was not counted
    coalescer.submit(new_job("another", client="flood"))
    assert sent.late == ["more", "another"]


@pytest.mark.parametrize("outage", [False, True])
def test_a_picture_whose_commit_nobody_noted_does_not_count_for_ever(
    monkeypatch: pytest.MonkeyPatch, outage: bool
) -> None:
    sent = Sent()
    coalescer = Coalescer(sent, max_unfinished=100, patience_seconds=0.05)
    for k in range(PART_SIZE):
        coalescer.submit(new_job(f"{k}", client="flood"))
    if outage:
        coalescer.on_outage()
    else:
        monkeypatch.setattr("web.submit.coalescer._LONGEST_SECONDS", 0)
    coalescer.submit(new_job("more", client="flood"))
    assert sent.messages[-1] == ["more"]
    coalescer.on_work_done("0")  # it is late, and not counted any more
