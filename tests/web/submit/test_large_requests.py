"""Requests with many bytes: several web processes accept no more than one would."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from redis import Redis
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.test import TestResponse, stream_encode_multipart

from shared import keys
from shared.errors import Overloaded, RequestTooLarge, TooManyOutstanding
from shared.jobs import PART_SIZE, Lane
from shared.settings import Settings
from tests.support.bodies import JPEG
from tests.support.servers.memory_limit import memory_limit
from tests.support.stored_jobs import new_job
from tests.web.submit.open_jobs.new_jobs import open_id
from web.http.clients import Client
from web.submit.admission import Admission
from web.submit.limits import Need
from web.submit.room import Room

ALICE, BOB, CAROL = Client("key alice"), Client("key bob"), Client("key carol")
MB = 2**20


@pytest.fixture
def rooms() -> Iterator[ExitStack]:
    """Requests that are under way until the test ends, or closes it."""
    with ExitStack() as stack:
        yield stack


def fill(rooms: ExitStack, admission: Admission, client: Client, size: int) -> None:
    """A request asks for room for its body, and begins to store it."""
    room = rooms.enter_context(admission.room(client))
    room.fill(Lane.BULK, Need(PART_SIZE, size))


def test_a_process_knows_what_another_one_is_storing(
    make: Callable[..., Admission], rooms: ExitStack, redis: Redis
) -> None:
    one, other = make(images=1000, size=1000 * MB), make(images=1000, size=1000 * MB)
    assert one.load() and other.load()
    with ExitStack() as first:
        fill(first, one, ALICE, 400 * MB)
        fill(rooms, other, BOB, 300 * MB)
        with pytest.raises(Overloaded):
            fill(rooms, one, CAROL, 200 * MB)
    fill(rooms, one, CAROL, 200 * MB)  # the first request has ended
    rooms.close()
    assert not redis.exists(keys.RESERVED)


def test_a_client_has_one_share_in_all_processes(
    make: Callable[..., Admission], rooms: ExitStack
) -> None:
    one, other = make(images=1000, size=1000 * MB), make(images=1000, size=1000 * MB)
    fill(rooms, one, ALICE, 350 * MB)
    with pytest.raises(TooManyOutstanding):
        fill(rooms, other, ALICE, 350 * MB)
    fill(rooms, other, BOB, 350 * MB)


def test_what_another_process_has_just_stored_counts_at_once(
    make: Callable[..., Admission], rooms: ExitStack
) -> None:
    one, other = make(images=1000, size=100 * MB), make(images=1000, size=100 * MB)
    assert one.load()
    other.accept([new_job(2, size=25 * MB, client=ALICE.name)])
    with pytest.raises(Overloaded):
        fill(rooms, one, BOB, 40 * MB)
    with pytest.raises(TooManyOutstanding):
        fill(rooms, one, ALICE, 20 * MB)
    fill(rooms, one, BOB, 20 * MB)


def test_requests_of_one_process_count_once(
    make: Callable[..., Admission], rooms: ExitStack
) -> None:
    admission = make(images=1000, size=1000 * MB)
    fill(rooms, admission, ALICE, 200 * MB)
    fill(rooms, admission, ALICE, 200 * MB)
    fill(rooms, admission, BOB, 390 * MB)


def test_the_bytes_of_a_process_that_died_are_free_again(
    make: Callable[..., Admission], rooms: ExitStack, redis: Redis
) -> None:
    fill(rooms, make(images=1000, size=1000 * MB), ALICE, 400 * MB)
    [member] = redis.zrange(keys.RESERVED, 0, -1)
    assert 100 < redis.ttl(keys.RESERVED) <= 120
    redis.zadd(keys.RESERVED, {member: 1})  # two minutes later
    fill(rooms, make(images=1000, size=1000 * MB), BOB, 400 * MB)


def test_small_requests_ask_only_their_own_process(
    make: Callable[..., Admission], rooms: ExitStack, redis: Redis
) -> None:
    fill(rooms, make(images=1000), ALICE, 15 * MB)
    assert not redis.exists(keys.RESERVED)


def send(client: FlaskClient, method: str, path: str) -> TestResponse:
    """Send a form with 32 pictures of one megabyte."""
    pictures = [io.BytesIO(JPEG + bytes([k]) + bytes(MB)) for k in range(PART_SIZE)]
    files = MultiDict([("files", FileStorage(each, f"{k}.jpg")) for k, each in enumerate(pictures)])
    form, length, boundary = stream_encode_multipart(files, threshold=64 * MB)
    return client.open(
        path,
        method=method,
        input_stream=form,
        content_length=length,
        content_type=f"multipart/form-data; boundary={boundary}",
    )


def test_a_part_that_is_stored_already_is_not_counted_again(
    make_app: Callable[..., OpenAPI], monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[int] = []
    monkeypatch.setattr(Room, "note_staged", lambda self, size: noted.append(size))
    client = make_app(max_image_bytes=20 * MB).test_client()
    path = f"/jobs/{open_id(client, PART_SIZE)}/parts/0"
    assert send(client, "PUT", path).status_code == 201
    assert 36 * MB < sum(noted) <= 40 * MB
    noted.clear()
    assert send(client, "PUT", path).status_code == 200
    assert not noted, "Redis stored nothing"


@pytest.mark.parametrize("is_part", [True, False])
def test_what_redis_has_of_a_request_counts_once(
    make_app: Callable[..., OpenAPI],
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    is_part: bool,
) -> None:
    """The bytes of a large part are reserved, and then Redis uses memory for them."""
    app = make_app(max_image_bytes=20 * MB)
    admission: Admission = app.extensions["backend"].admission
    monkeypatch.setattr("web.submit.admission._FRESH_SECONDS", 0)
    counted: list[int] = []
    count_staged = Admission.count_staged

    def note_and_count(self: Admission, size: int) -> None:
        count_staged(self, size)
        budget = self._budgets(self.load(), Lane.BULK, Need(1, 1), self.room()).memory
        assert budget
        counted.append(budget.present)

    with memory_limit(redis, redis.info("memory")["used_memory"] + 200 * MB):
        before = redis.info("memory")["used_memory"]
        monkeypatch.setattr(Admission, "count_staged", note_and_count)
        client = app.test_client()
        path = f"/jobs/{open_id(client, 32)}/parts/0" if is_part else "/jobs"
        answer = send(client, "PUT" if is_part else "POST", path)
        assert answer.status_code == (201 if is_part else 202)
    assert len(counted) > 10
    assert max(counted) - before < 44 * MB, "40 MB of memory for 32 MB, and the records"
    assert not admission._staged


def test_what_redis_has_of_a_request_of_another_process_counts_once(
    make: Callable[..., Admission], rooms: ExitStack, redis: Redis
) -> None:
    one, other = make(images=1000, size=2000 * MB), make(images=1000, size=2000 * MB)
    with memory_limit(redis, 2**30):  # `bulk` may use 737 MB
        with ExitStack() as first:
            room = first.enter_context(one.room(ALICE))
            room.fill(Lane.BULK, Need(PART_SIZE, 500 * MB))
            with pytest.raises(Overloaded), ExitStack() as refused:
                fill(refused, other, BOB, 300 * MB)
            for _ in range(50):
                room.note_staged(10 * MB)
            [member] = redis.zrange(keys.RESERVED, 0, -1)
            assert int(member.split()[3]) < 32 * MB
            fill(rooms, other, BOB, 300 * MB)  # here, Redis does not have them in fact
        [member] = redis.zrange(keys.RESERVED, 0, -1)
        assert member.endswith(b" key bob")


def test_what_another_process_has_accepted_since_the_read_counts_once(
    make: Callable[..., Admission], rooms: ExitStack, redis: Redis
) -> None:
    """The memory at the last read has its images, and the number of bytes held has not."""
    one, other = make(images=1000, size=2000 * MB), make(images=1000, size=2000 * MB)
    room = rooms.enter_context(one.room(ALICE))
    room.fill(Lane.BULK, Need(PART_SIZE, 60 * MB))
    for k in range(60):
        redis.set(f"image {k}", bytes(MB - 100))
        room.note_staged(MB)  # the other process hears of it every 32 MB
    with memory_limit(redis, 150 * MB):  # `bulk` may use 108 MB
        assert other.load().memory_used > 60 * MB
        redis.hincrby(keys.HELD, "total", 60 * MB)  # they are accepted
        room.give_back()
        other.accept([new_job()])
        fill(rooms, other, BOB, 10 * MB)


def test_a_reservation_of_another_release_is_no_error(
    make: Callable[..., Admission], rooms: ExitStack, redis: Redis
) -> None:
    redis.zadd(keys.RESERVED, {"process request in-another-form": 2**40})
    admission = make(images=1000, size=2000 * MB)
    assert admission.load()
    fill(rooms, admission, BOB, 300 * MB)


# What no request may have


def test_the_largest_part_fits_into_the_default_limit(
    make: Callable[..., Admission], rooms: ExitStack
) -> None:
    settings = Settings()
    admission = make(images=1000, size=settings.max_bytes_held)
    fill(rooms, admission, ALICE, PART_SIZE * settings.max_image_bytes)
    fill(rooms, admission, BOB, PART_SIZE * settings.max_image_bytes)


@pytest.mark.parametrize("memory, most", [(510_000_000, 222), (993_211_187, 553)])
def test_on_a_small_machine_a_part_leaves_room_for_two_forms(
    make: Callable[..., Admission], rooms: ExitStack, redis: Redis, memory: int, most: int
) -> None:
    """Machines of 2 and 4 GB, which give Redis a quarter of their memory."""
    settings = Settings()
    form = settings.max_request_bytes
    admission = make(images=1000, size=settings.max_bytes_held, form=form)
    with memory_limit(redis, memory):
        with pytest.raises(RequestTooLarge, match=f"32 pictures .* {most}.* MB are allowed"):
            fill(rooms, admission, ALICE, (most + 1) * MB)
        assert not redis.exists(keys.RESERVED)
        fill(rooms, admission, ALICE, most * MB)
        for client in (BOB, CAROL):
            fill(rooms, admission, client, int(0.95 * form))


def test_a_client_hears_what_it_may_send(make_app: Callable[..., OpenAPI]) -> None:
    client = make_app(max_bytes_held=40 * MB, max_image_bytes=20 * MB).test_client()
    picture = b"\xff\xd8\xff" + bytes(17 * MB)
    answer = client.post("/api/v1/classify", data=picture)
    assert (answer.status_code, answer.json["code"]) == (413, "request_too_large")
    assert answer.json["detail"].startswith("1 picture")
    assert "16 MB are allowed" in answer.json["detail"]
