"""The account of a client says what the service holds and keeps for it."""

from __future__ import annotations

import pytest
from redis import Redis

from shared import clock, keys
from shared.jobs import (
    PART_SIZE,
    Durations,
    ItemState,
    Lane,
    NewItem,
    NewJob,
    OpenJob,
    Outcome,
    Prediction,
    new_job_id,
)
from shared.records.accounts import account
from shared.records.accounts.account import DAY, Account
from shared.records.job_records import JobRecords
from shared.thumbnails import MOST_BYTES
from tests.shared.records.parts import LANE, REFUSED, SUCCESS, bury, commit, take_message
from tests.support.servers.memory_limit import memory_limit

CLIENT = "key alice"
DATA = b"a picture"

LABELS = Outcome(
    state=ItemState.SUCCEEDED,
    predictions=tuple(Prediction(k, "Labrador retriever", 0.123456) for k in range(10)),
    model_version="mobilenet_v3_large-5c1a4163aaaa-p2",
    durations=Durations(queue_ms=12.5, preprocess_ms=12.5, inference_ms=12.5),
)


def new_item(name: str = "cat.jpg", outcome: Outcome | None = None) -> NewItem:
    digest = f"{new_job_id()}{new_job_id()}"
    return NewItem(name=name, digest=digest, data=DATA, outcome=outcome)


def accept(
    jobs: JobRecords, images: int = 2, *, client: str = CLIENT, lane: Lane = LANE, name: str = "a"
) -> str:
    items = [new_item(name=name) for _ in range(images)]
    job = NewJob(id=new_job_id(), lane=lane, top_k=5, items=items, client=client)
    jobs.submitter.accept([job])
    return job.id


def outstanding(redis: Redis, client: str = CLIENT) -> tuple[int, int]:
    """Images and bytes."""
    read = account.read(redis, client)
    return read.all_images, read.size


@pytest.mark.parametrize("lane", Lane)
def test_what_a_client_sends_is_in_its_account(redis: Redis, jobs: JobRecords, lane: Lane) -> None:
    size = len(DATA)
    accept(jobs, 3, lane=lane)
    accept(jobs, 40, lane=lane, client="key bob")
    read = account.read(redis, CLIENT)
    assert read.images == dict.fromkeys(Lane, 0) | {lane: 3}
    assert (read.size, read.today) == (3 * size, 3)
    assert 3 * 64 < read.kept < 10_000
    assert outstanding(redis, "key bob") == (40, 40 * size)


def test_jobs_that_leave_together_are_counted_for_their_clients(
    redis: Redis, jobs: JobRecords
) -> None:
    together = [
        NewJob(id=new_job_id(), lane=Lane.INTERACTIVE, top_k=5, items=[new_item()], client=client)
        for client in ("a", "b", "a")
    ]
    jobs.submitter.accept(together)
    assert [outstanding(redis, client)[0] for client in "ab"] == [2, 1]


def test_a_committed_image_leaves_the_account(redis: Redis, jobs: JobRecords) -> None:
    accept(jobs, 3)
    [ref] = take_message(redis)
    commit(redis, jobs, ref, {1: SUCCESS})
    assert outstanding(redis)[0] == 2
    commit(redis, jobs, ref, {0: SUCCESS, 2: REFUSED})
    assert outstanding(redis) == (0, 0)
    assert 0 < redis.ttl(keys.account(CLIENT)) <= 2 * 3600 + DAY


def test_an_account_with_something_outstanding_does_not_expire(
    redis: Redis, jobs: JobRecords
) -> None:
    accept(jobs)
    assert redis.ttl(keys.account(CLIENT)) == -1


def test_a_cancelled_job_leaves_the_account(redis: Redis, jobs: JobRecords) -> None:
    job_id = accept(jobs, 40)
    jobs.canceller.cancel(job_id)
    assert outstanding(redis) == (0, 0)


def test_a_part_whose_records_have_expired_leaves_the_account(
    redis: Redis, jobs: JobRecords
) -> None:
    job_id = accept(jobs, 3)
    redis.delete(keys.job(job_id), keys.part(job_id, 0), keys.images(job_id, 0))
    jobs.parts.start(take_message(redis), LANE)
    assert outstanding(redis) == (0, 0)
    assert not redis.exists(keys.CHARGES)


def test_a_part_counts_for_the_client_that_sends_it(redis: Redis, jobs: JobRecords) -> None:
    job_id = new_job_id()
    jobs.submitter.open(OpenJob(id=job_id, lane=LANE, top_k=5, total=PART_SIZE, client="opener"))
    kept = account.read(redis, "opener").kept
    items = [new_item(name="猫") for _ in range(PART_SIZE)]
    jobs.submitter.put_part(jobs.reader.get(job_id), 0, items, client=CLIENT)
    jobs.submitter.put_part(jobs.reader.get(job_id), 0, items, client=CLIENT)  # again
    assert outstanding(redis)[0] == account.read(redis, CLIENT).today == PART_SIZE
    # Records belong to the job.
    assert account.read(redis, "opener").kept > kept + 64 * PART_SIZE


def test_a_dead_letter_that_is_retried_counts_again(redis: Redis, jobs: JobRecords) -> None:
    accept(jobs, 2)
    [ref] = take_message(redis)
    redis.lpush(keys.queue(LANE), b"")  # `bury` takes the message
    bury(redis, jobs, ref)
    assert outstanding(redis)[0] == 1
    [letter] = jobs.dead_letters.all()
    assert jobs.dead_letters.retry(letter)
    assert outstanding(redis)[0] == 2


def test_a_job_of_an_earlier_release_counts_for_nobody(redis: Redis, jobs: JobRecords) -> None:
    accept(jobs, client="")
    assert not redis.keys("account:*")
    commit(redis, jobs, take_message(redis)[0])
    assert not redis.keys("account:*")


def test_what_a_worker_of_an_earlier_release_has_committed_leaves_the_account(
    redis: Redis, jobs: JobRecords
) -> None:
    gone, left = accept(jobs, 3), accept(jobs, 2)
    redis.hdel(keys.HELD, keys.part(gone, 0))  # all that it changes of these records
    jobs.recovery.recover(LANE)
    assert outstanding(redis)[0] == 2
    assert redis.hkeys(keys.CHARGES) == [keys.part(left, 0).encode()]


def test_a_full_redis_counts_nothing(redis: Redis, jobs: JobRecords) -> None:
    with memory_limit(redis, 1), pytest.raises(Exception, match="OOM|command not allowed"):
        accept(jobs)
    assert account.read(redis, CLIENT) == Account()


def test_records_leave_the_account_when_they_expire(
    redis: Redis, jobs: JobRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now(redis)
    accept(jobs)
    commit(redis, jobs, take_message(redis)[0])
    monkeypatch.setattr(clock, "now", lambda redis: now + 3500)
    kept = account.read(redis, CLIENT).kept
    assert kept
    monkeypatch.setattr(clock, "now", lambda redis: now + 2 * 3600)
    assert account.read(redis, CLIENT).kept == 0
    monkeypatch.setattr(clock, "now", lambda redis: now + DAY)
    accept(jobs)
    # The first request of a day removes the hours of the past.
    fields = [name for name in redis.hkeys(keys.account(CLIENT)) if name.startswith(b"kept:")]
    assert len(fields) == 1


def test_thumbnails_stay_in_the_account_until_they_expire(
    redis: Redis, jobs: JobRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now(redis)
    job = NewJob(
        id=new_job_id(), lane=LANE, top_k=5, items=[new_item()], client=CLIENT, thumbnails=True
    )
    jobs.submitter.accept([job])
    commit(redis, jobs, take_message(redis)[0])
    monkeypatch.setattr(clock, "now", lambda redis: now + 7100)
    assert account.read(redis, CLIENT).kept > MOST_BYTES
    monkeypatch.setattr(clock, "now", lambda redis: now + 3 * 3600)
    assert account.read(redis, CLIENT).kept == 0


def test_the_images_of_a_day_begin_at_midnight(
    redis: Redis, jobs: JobRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    midnight = (clock.now(redis) // DAY + 1) * DAY
    monkeypatch.setattr(clock, "now", lambda redis: midnight - 1)
    accept(jobs, 2)
    accept(jobs, 3)
    assert account.read(redis, CLIENT).today == 5
    monkeypatch.setattr(clock, "now", lambda redis: midnight)
    assert account.read(redis, CLIENT).today == 0
    accept(jobs, 4)
    assert account.read(redis, CLIENT).today == 4


@pytest.mark.parametrize("name", ["a.jpg", "字" * 500])
@pytest.mark.parametrize("outcome", [None, REFUSED], ids=["classified", "refused"])
@pytest.mark.parametrize("images", [1, 100])
def test_what_an_account_says_is_kept_is_near_the_truth(
    redis: Redis, jobs: JobRecords, name: str, images: int, outcome: Outcome | None
) -> None:
    before = redis.info("memory")["used_memory"]
    for _ in range(800 // images):
        items = [new_item(name=name, outcome=outcome) for _ in range(images)]
        job = NewJob(id=new_job_id(), lane=LANE, top_k=5, items=items, client=CLIENT)
        jobs.submitter.accept([job])
    while parts := take_message(redis):
        for ref in parts:
            jobs.parts.start([ref], LANE)  # queues the next
            commit(redis, jobs, ref, dict.fromkeys(range(ref.images), LABELS))
    used = redis.info("memory")["used_memory"] - before
    assert used / 2 < account.read(redis, CLIENT).kept < 2 * used
