"""A job as server-sent events: told at once, in the order of finishing, and from where one was."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from redis import Redis

from shared import keys
from shared.errors import DecodeFailed
from shared.records.job_records import JobRecords
from shared.jobs import ItemState, Lane, NewItem, NewJob, Outcome, PartRef, Prediction, new_job_id
from web.follow.event_streams import EventStreams
from web.routes.backend import Backend

SUCCESS = Outcome(
    state=ItemState.SUCCEEDED, predictions=(Prediction(84, "peacock", 0.9),), model_version="m-1"
)
FAILURE = Outcome.failure(DecodeFailed())


class Event(NamedTuple):
    name: str
    data: Any
    id: int | None


class Reader:
    """What an EventSource does, one event at a time."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.comments: list[str] = []
        self.retry_ms: int | None = None
        self._events = self._parse(pieces)

    def next(self) -> Event:
        return next(self._events)

    def until(self, name: str) -> list[Event]:
        """Events up to and with the first of this name."""
        found = [self.next()]
        while found[-1].name != name:
            found.append(self.next())
        return found

    def rest(self) -> list[Event]:
        return list(self._events)

    def _parse(self, pieces: Iterator[bytes]) -> Iterator[Event]:
        for piece in pieces:
            assert piece.endswith(b"\n\n")
            for block in piece.decode().removesuffix("\n\n").split("\n\n"):
                if block.startswith(":"):
                    self.comments.append(block)
                    continue
                fields = dict(line.split(": ", 1) for line in block.split("\n"))
                if set(fields) == {"retry"}:
                    self.retry_ms = int(fields["retry"])
                    continue
                told = int(fields["id"]) if "id" in fields else None
                yield Event(fields["event"], json.loads(fields["data"]), told)


@contextmanager
def following(
    client: FlaskClient, job_id: str, query: str = "", **headers: str
) -> Iterator[Reader]:
    response = client.get(f"/jobs/{job_id}/events?{query}", headers=headers, buffered=False)
    assert response.status_code == 200, response.text
    try:
        yield Reader(iter(response.response))  # type: ignore[arg-type]
    finally:
        response.close()


def accept(jobs: JobRecords, items: int) -> str:
    job_id = new_job_id()
    new = [NewItem(name=f"{k}.jpg", digest=f"{k:064x}", data=b"x") for k in range(items)]
    jobs.submitter.accept([NewJob(id=job_id, lane=Lane.BULK, top_k=1, items=new)])
    return job_id


def commit(
    jobs: JobRecords, redis: Redis, job_id: str, *indexes: int, outcome: Outcome = SUCCESS
) -> None:
    """As a worker does."""
    total = jobs.reader.get(job_id).total
    pipe = redis.pipeline(transaction=False)
    for index in indexes:
        ref = PartRef(job_id, index // 32, min(32, total - index // 32 * 32))
        jobs.parts.commit(pipe, ref, Lane.BULK, {index % 32: outcome})
    pipe.execute()


def indexes(events: list[Event]) -> list[int]:
    return [event.data["index"] for event in events if event.name == "item"]


def test_items_are_told_as_they_finish_and_then_the_end(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    job_id = accept(jobs, 40)
    with following(client, job_id) as reader:
        first = reader.next()
        assert (first.name, first.data["state"], first.id) == ("progress", "queued", None)
        assert reader.retry_ms == 2000

        commit(jobs, redis, job_id, 35, 3)
        commit(jobs, redis, job_id, 0, outcome=FAILURE)
        events = reader.until("item") + [reader.next(), reader.next()]
        items = [event for event in events if event.name == "item"]
        assert [(item.data["index"], item.id) for item in items] == [(35, 1), (3, 2), (0, 3)]
        page = client.get(f"/jobs/{job_id}/results").json["items"]
        assert [item.data for item in items] == [page[35], page[3], page[0]]

        threading.Timer(0.5, commit, [jobs, redis, job_id, *range(40)]).start()
        started = time.monotonic()
        rest = reader.rest()
        assert time.monotonic() - started < 3  # told of, not found by looking now and then
    assert indexes(rest) == [k for k in range(40) if k not in (0, 3, 35)]
    assert [event.id for event in rest if event.name == "item"] == list(range(4, 41))
    assert rest[-1].name == "end" and rest[-1].data["state"] == "completed"
    assert [event.data for event in rest if event.name == "progress"][-1] == rest[-1].data


def test_a_stream_goes_on_after_the_last_event(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    job_id = accept(jobs, 10)
    commit(jobs, redis, job_id, *reversed(range(10)))
    with following(client, job_id, **{"Last-Event-ID": "7"}) as reader:
        events = reader.rest()
    assert indexes(events) == [2, 1, 0]
    assert [event.name for event in events] == ["progress", "item", "item", "item", "end"]
    # An EventSource comes back to the same address, and says in the header where it was.
    with following(client, job_id, "last_event_id=2", **{"Last-Event-ID": "9"}) as reader:
        assert indexes(reader.rest()) == [0]
    with following(client, job_id, "last_event_id=8") as reader:
        assert indexes(reader.rest()) == [1, 0]
    with following(client, job_id, "last_event_id=10") as reader:
        assert [event.name for event in reader.rest()] == ["progress", "end"]


def test_no_cache_and_no_proxy_holds_events_back(client: FlaskClient, jobs: JobRecords) -> None:
    with client.get(f"/jobs/{accept(jobs, 1)}/events", buffered=False) as response:
        assert response.content_type == "text/event-stream; charset=utf-8"
        assert (response.headers["Cache-Control"], response.headers["X-Accel-Buffering"]) == (
            *("no-store", "no"),
        )


def test_items_may_be_left_out(client: FlaskClient, jobs: JobRecords, redis: Redis) -> None:
    job_id = accept(jobs, 3)
    commit(jobs, redis, job_id, 0, 1, 2)
    with following(client, job_id, "items=false") as reader:
        assert [event.name for event in reader.rest()] == ["progress", "end"]


def test_one_picture_is_told_too(client: FlaskClient, jobs: JobRecords, redis: Redis) -> None:
    job_id = accept(jobs, 1)
    with following(client, job_id) as reader:
        reader.next()
        commit(jobs, redis, job_id, 0)
        events = reader.rest()
    assert indexes(events) == [0] and events[-1].name == "end"


def test_a_cancelled_job_ends_its_streams(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    job_id = accept(jobs, 5)
    commit(jobs, redis, job_id, 4)
    with following(client, job_id) as reader:
        reader.until("item")
        client.delete(f"/jobs/{job_id}")
        events = reader.rest()
    assert indexes(events) == []
    assert (events[-1].name, events[-1].data["state"]) == ("end", "cancelled")
    assert events[-1].data["counts"]["cancelled"] == 4


def test_a_job_that_is_still_being_sent_is_followed(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    job_id = client.post("/jobs", json={"total": 1}).json["job"]["id"]
    with following(client, job_id) as reader:
        assert reader.next().data["state"] == "receiving"
        files = {"files": (io.BytesIO(b"text"), "no picture.jpg")}
        assert client.put(f"/jobs/{job_id}/parts/0", data=files).status_code == 201
        events = reader.rest()
    assert indexes(events) == [0] and events[-1].data["counts"]["failed"] == 1


def test_progress_is_told_four_times_a_second_at_most(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    job_id = accept(jobs, 100)
    worker = threading.Thread(
        target=lambda: [commit(jobs, redis, job_id, k) or time.sleep(0.02) for k in range(100)]
    )
    with following(client, job_id) as reader:
        reader.next()
        worker.start()
        started = time.monotonic()
        events = reader.rest()
        seconds = time.monotonic() - started
    worker.join()
    assert indexes(events) == list(range(100))
    assert 4 <= [event.name for event in events].count("progress") <= 4 * seconds + 2


def test_a_lost_notice_costs_seconds_and_no_event(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    job_id = accept(jobs, 1)
    with following(client, job_id) as reader:
        reader.next()
        # As commit.lua does, without telling.
        redis.hset(keys.part(job_id, 0), "r0", SUCCESS.to_json())
        redis.hset(keys.job(job_id), mapping={"succeeded": 1, "state": "completed"})
        assert indexes(reader.rest()) == [0]


def test_thirty_streams_of_one_job_ask_redis_as_one_does(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    job_id = accept(jobs, 64)
    with ExitStack() as streams:
        readers = [streams.enter_context(following(client, job_id)) for _ in range(30)]
        assert {reader.next().name for reader in readers} == {"progress"}
        before = asked(redis)
        commit(jobs, redis, job_id, *range(32))
        told = [reader.until("item") for reader in readers]
        assert all(events[-1].id == 1 for events in told)
        assert asked(redis) - before <= 3


def asked(redis: Redis) -> int:
    """How often anybody read what has finished."""
    calls = redis.info("commandstats").get("cmdstat_lrange", {}).get("calls", 0)
    return int(calls)


def test_streams_are_bounded_in_number(make_app: Callable[..., OpenAPI], jobs: JobRecords) -> None:
    client = make_app(max_event_streams=2).test_client()
    job_id = accept(jobs, 1)
    with following(client, job_id), following(client, job_id):
        refused = client.get(f"/jobs/{job_id}/events")
        assert (refused.status_code, refused.json["code"]) == (503, "overloaded")
        assert int(refused.headers["Retry-After"]) >= 1
        assert client.get(f"/jobs/{job_id}").status_code == 200
    with following(client, job_id) as reader:
        assert reader.next().name == "progress"
    assert client.head(f"/jobs/{job_id}/events", buffered=True).status_code == 200
    with following(client, job_id), following(client, job_id):
        pass


def test_streams_end_with_their_process(
    app: OpenAPI, client: FlaskClient, jobs: JobRecords
) -> None:
    job_id = accept(jobs, 1)
    streams = app.extensions["backend"].streams
    with following(client, job_id) as reader:
        reader.next()
        threading.Timer(0.2, streams.end_all).start()
        started = time.monotonic()
        assert reader.rest() == []
        assert time.monotonic() - started < 2
    assert client.get(f"/jobs/{job_id}/events").status_code == 503


def test_a_stream_has_a_longest_life(app: OpenAPI, jobs: JobRecords) -> None:
    found: Backend = app.extensions["backend"]
    streams = EventStreams(
        found.commits, jobs.reader, serialise=lambda job: b"", most=1, longest_seconds=0.3
    )
    stream = streams.open("job", None)
    assert not stream.over
    started = time.monotonic()
    stream.wait(10)
    assert stream.over and time.monotonic() - started < 1
    stream.close()
    assert len(streams) == 0


def test_what_makes_no_sense_is_refused(client: FlaskClient, jobs: JobRecords) -> None:
    job_id = accept(jobs, 1)
    for query, headers in (
        ("last_event_id=-1", {}),
        ("last_event_id=x", {}),
        ("items=perhaps", {}),
        ("color=red", {}),
        ("", {"Last-Event-ID": "x"}),
    ):
        response = client.get(f"/jobs/{job_id}/events?{query}", headers=headers)
        assert (response.status_code, response.json["status"]) == (422, 422), query
    assert client.get("/jobs/nothing/events").json["code"] == "job_not_found"
