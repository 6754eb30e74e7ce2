"""No client takes all there is: each may hold at most as much as it leaves free."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from redis import Redis
from werkzeug.test import TestResponse

from shared import keys
from shared.errors import DailyLimitReached, Overloaded, TooManyOutstanding, TryLater
from shared.jobs import PART_SIZE, Lane, NewJob
from shared.records import footprint
from shared.records.accounts import account
from shared.settings import Settings
from tests.support.bodies import JPEG
from tests.support.servers.memory_limit import memory_limit
from tests.support.stored_jobs import SIZE, commit, new_job
from tests.web.submit.asking import Clock, submit, unread
from tests.web.submit.open_jobs.new_jobs import code
from web.http.api_keys import Limits
from web.http.clients import Client
from web.submit import client_accounts
from web.submit.admission import Admission
from web.submit.limits import Need

ALICE, BOB = Client("key alice"), Client("key bob")

OTHER = {"REMOTE_ADDR": "192.0.2.7"}


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the account before each answer."""
    monkeypatch.setattr(client_accounts, "_FRESH_SECONDS", -1)
    monkeypatch.setattr(client_accounts, "_FRESH_FOR_REFUSAL_SECONDS", -1)


def ask(
    admission: Admission, client: Client, need: Need, lane: Lane = Lane.BULK
) -> TryLater | None:
    """What a client hears that asks for room."""
    try:
        with admission.room(client) as room:
            room.fill(lane, need)
    except TryLater as refusal:
        return refusal
    return None


def of(client: Client, images: int, lane: Lane = Lane.BULK) -> NewJob:
    return new_job(images, lane, client=client.name)


def test_a_client_may_have_half_and_the_next_half_of_the_rest(
    make: Callable[..., Admission],
) -> None:
    admission = make(images=20)
    admission.accept([of(ALICE, 9)])
    assert ask(admission, ALICE, Need(1)) is None
    assert isinstance(ask(admission, ALICE, Need(3)), TooManyOutstanding)
    assert ask(admission, BOB, Need(11)) is None
    admission.accept([of(BOB, 5)])
    assert isinstance(ask(admission, BOB, Need(2)), TooManyOutstanding)
    assert ask(admission, Client("address 192.0.2.1"), Need(6)) is None
    assert isinstance(ask(admission, Client("address 192.0.2.1"), Need(7)), Overloaded)


def test_single_pictures_of_one_client_leave_room_for_the_jobs_of_another(
    make: Callable[..., Admission],
) -> None:
    admission = make(images=40)
    for _ in range(20):
        admission.accept([of(ALICE, 1, Lane.INTERACTIVE)])
    assert isinstance(ask(admission, ALICE, Need(1), Lane.INTERACTIVE), TooManyOutstanding)
    assert ask(admission, BOB, Need(5), Lane.INTERACTIVE) is None
    admission.accept([of(BOB, 2, Lane.INTERACTIVE)])
    assert ask(admission, BOB, Need(5), Lane.INTERACTIVE) is None


def test_a_client_that_has_nothing_may_send_anything_where_nothing_is(
    make: Callable[..., Admission],
) -> None:
    admission = make(images=20)
    assert ask(admission, ALICE, Need(500)) is None


def test_bytes_have_shares_too(make: Callable[..., Admission]) -> None:
    admission = make(images=1000, size=20 * SIZE)
    admission.accept([of(ALICE, 9)])
    assert isinstance(
        ask(admission, ALICE, Need(1, 3 * SIZE), Lane.INTERACTIVE), TooManyOutstanding
    )
    assert ask(admission, BOB, Need(1, 3 * SIZE), Lane.INTERACTIVE) is None


def test_the_largest_part_leaves_half_of_the_bytes_to_others(
    make: Callable[..., Admission],
) -> None:
    """A client that has nothing may send it, however much that is."""
    settings = Settings()
    largest = PART_SIZE * settings.max_image_bytes
    admission = make(images=1000, size=settings.max_bytes_held)
    with admission.room(ALICE) as room:
        room.fill(Lane.BULK, Need(PART_SIZE, largest))
        assert ask(admission, BOB, Need(PART_SIZE, largest)) is None
        assert ask(admission, ALICE, Need(PART_SIZE, largest)) is not None


def test_a_client_leaves_room_in_the_other_lane(make: Callable[..., Admission]) -> None:
    """Pictures of `interactive` may fill more bytes than those of `bulk`."""
    admission = make(images=1000, size=100 * SIZE)
    admission.accept([of(Client("key carol"), 40)])
    sent = 0
    while ask(admission, ALICE, Need(1, SIZE), Lane.INTERACTIVE) is None:
        admission.accept([of(ALICE, 1, Lane.INTERACTIVE)])
        sent += 1
    assert sent == 20, "half of what is free for both lanes"
    assert ask(admission, BOB, Need(20, 20 * SIZE), Lane.BULK) is None
    admission.accept([of(BOB, 20)])
    assert isinstance(ask(admission, BOB, Need(1, SIZE), Lane.BULK), TryLater)
    assert ask(admission, Client("key dan"), Need(1, SIZE), Lane.INTERACTIVE) is None
    assert ask(admission, BOB, Need(1, SIZE), Lane.INTERACTIVE) is not None, "it has a quarter"


def test_requests_under_way_count_for_their_client(make: Callable[..., Admission]) -> None:
    admission = make(images=20)
    with admission.room(ALICE) as one, admission.room(BOB) as other:
        one.fill(Lane.BULK, Need(8))
        other.fill(Lane.BULK, Need(4))
        assert isinstance(ask(admission, ALICE, Need(1)), TooManyOutstanding)
        one.fill(Lane.BULK, Need(8))  # what it has reserved does not stand in its own way
    assert ask(admission, ALICE, Need(1)) is None


def test_what_is_done_gives_its_share_back(
    make: Callable[..., Admission], redis: Redis, jobs: object
) -> None:
    admission = make(images=20)
    job = of(ALICE, 10)
    admission.accept([job])
    refusal = ask(admission, ALICE, Need(1))
    assert isinstance(refusal, TooManyOutstanding) and refusal.retry_after_seconds > 0
    commit(redis, jobs, job)  # type: ignore[arg-type]
    assert ask(admission, ALICE, Need(10)) is None


def test_a_share_goes_by_what_is_free_now(
    make: Callable[..., Admission], redis: Redis, jobs: object, clock: Clock
) -> None:
    """The load is read once a second, and before a refusal ten times."""
    admission = make(images=20)
    other = of(BOB, 10)
    admission.accept([of(ALICE, 4)])
    admission.accept([other])
    assert isinstance(ask(admission, ALICE, Need(4)), TooManyOutstanding)
    commit(redis, jobs, other)  # type: ignore[arg-type]
    clock.now += 0.5
    assert ask(admission, ALICE, Need(4)) is None


def test_results_that_are_still_to_come_count_for_their_client(
    make: Callable[..., Admission], redis: Redis
) -> None:
    """Those of 1,000 pictures take 3 MB, and count against all clients, too."""
    admission = make(images=100_000)
    with memory_limit(redis, 50 * 2**20):  # `bulk` may use 36 MB
        few = Need(100, 800_000, 100 * footprint.RESULT)
        sent = 0
        while ask(admission, ALICE, few) is None:
            admission.accept([new_job(100, size=8000, client=ALICE.name)])
            sent += 100
        assert 1000 < sent and sent * (8000 + footprint.RESULT) < 18 * 2**20
        for _ in range(5):
            assert ask(admission, BOB, few) is None
            admission.accept([new_job(100, size=8000, client=BOB.name)])


def test_results_to_come_fill_a_quarter_of_the_memory_at_most(
    make: Callable[..., Admission], redis: Redis
) -> None:
    """Tiny pictures of one client would otherwise hold half of the memory for minutes."""
    admission = make(images=100_000)
    with memory_limit(redis, 50 * 2**20):
        few = Need(100, 1000, 100 * footprint.RESULT)
        sent = 0
        while ask(admission, ALICE, few) is None:
            admission.accept([new_job(100, size=10, client=ALICE.name)])
            sent += 100
        assert 1000 < sent and sent * footprint.RESULT < 50 * 2**20 * 0.9 / 8 + 2**20


def test_a_service_with_little_to_do_reads_no_accounts(
    make: Callable[..., Admission], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(redis: Redis, client: str) -> account.Account:
        raise AssertionError("the account was read")

    monkeypatch.setattr(account, "read", never)
    admission = make(images=20)
    admission.accept([of(ALICE, 8)])
    assert ask(admission, ALICE, Need(2)) is None
    with pytest.raises(AssertionError, match="was read"):
        ask(admission, ALICE, Need(9))


# Limits of a key


@pytest.mark.parametrize(
    "limits, need",
    [
        (Limits(images=10), Need(3)),
        (Limits(bytes=10 * SIZE), Need(1, 3 * SIZE)),
        (Limits(images_per_day=10), Need(today=3)),
        (Limits(images=2), Need(3)),
    ],
)
def test_a_key_has_limits_of_its_own(
    make: Callable[..., Admission], limits: Limits, need: Need
) -> None:
    admission = make(images=1000)
    admission.accept([of(ALICE, 8)])
    limited = ALICE._replace(limits=limits)
    kind = DailyLimitReached if need.today else TooManyOutstanding
    refusal = ask(admission, limited, need, Lane.INTERACTIVE)
    assert isinstance(refusal, kind)
    assert 0 < refusal.retry_after_seconds <= 86_400
    assert ask(admission, BOB._replace(limits=limits), need._replace(images=1)) is None
    assert ask(admission, ALICE, need) is None


def test_the_last_picture_of_the_day_is_accepted(make: Callable[..., Admission]) -> None:
    admission = make()
    admission.accept([of(ALICE, 8)])
    limited = ALICE._replace(limits=Limits(images_per_day=9))
    assert ask(admission, limited, Need(1, today=1), Lane.INTERACTIVE) is None
    admission.accept([of(ALICE, 1)])
    refusal = ask(admission, limited, Need(1, today=1), Lane.INTERACTIVE)
    assert isinstance(refusal, DailyLimitReached)
    assert "may send 9 pictures a day, and has sent 9" in str(refusal)


# Through the API


def test_a_client_at_its_share_is_refused_before_its_body_is_read(
    make_app: Callable[..., OpenAPI],
) -> None:
    client = make_app(max_outstanding_bulk=20).test_client()
    assert submit(client, 10).status_code == 202
    answer = unread(client, "/jobs?lane=bulk", 1000)
    assert code(answer) == (429, "too_many_outstanding")
    assert int(answer.headers["Retry-After"]) > 0
    assert submit_from_another(client).status_code == 202


def submit_from_another(client: FlaskClient) -> TestResponse:
    files = [(io.BytesIO(JPEG + b"%d" % k), "a.jpg") for k in range(2)]
    return client.post("/jobs", data={"files": files}, environ_base=OTHER)


def test_failed_items_of_one_client_do_not_fill_redis_for_another(
    make_app: Callable[..., OpenAPI], redis: Redis
) -> None:
    """Forms of files that are no pictures, with long names: only records are kept."""
    limit = redis.info("memory")["used_memory"] + 8 * 2**20
    with memory_limit(redis, limit):
        client = make_app().test_client()
        for _ in range(1000):
            answer = no_pictures(client)
            if answer.status_code != 202:
                break
        assert code(answer) == (429, "too_much_kept")
        assert int(answer.headers["Retry-After"]) > 30
        assert redis.info("memory")["used_memory"] < 0.7 * limit
        assert submit_from_another(client).status_code == 202
        post = client.post("/api/v1/classify?wait=0", data=JPEG, environ_base=OTHER)
        assert post.status_code == 202
        kept = account.read(redis, "address 127.0.0.1").kept
        assert kept > 2**19, "it had a share before"
        redis.hdel(keys.account("address 127.0.0.1"), *_kept_fields(redis))  # they have expired
        assert no_pictures(client).status_code == 202


def no_pictures(client: FlaskClient) -> TestResponse:
    files = [(io.BytesIO(b"x"), "字" * 500) for _ in range(100)]
    return client.post("/jobs?lane=interactive", data={"files": files})


def _kept_fields(redis: Redis) -> list[bytes]:
    fields = redis.hkeys(keys.account("address 127.0.0.1"))
    return [name for name in fields if name.startswith(b"kept:")]
