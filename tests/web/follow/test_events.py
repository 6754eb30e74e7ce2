"""A job as server-sent events: at once, in the order in which items finish, and resumable."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from wsgiref.types import WSGIEnvironment

from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from pytest import MonkeyPatch
from redis import Redis

from shared import keys
from shared.records.job_records import JobRecords
from tests.web.follow.reader import following, indexes
from tests.web.follow.stored_jobs import FAILURE, SUCCESS, accept, commit, succeed
from web.follow import job_feed
from web.follow.event_streams import EventStreams
from web.routes.backend import Backend
from web.routes.job import events as routes
from web.server.fairness.slots import Slots


def test_items_come_as_they_finish_and_then_the_end(
    client: FlaskClient, jobs: JobRecords, redis: Redis, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(job_feed, "_POLL_SECONDS", 60)  # so only a notice can bring news in time
    job_id = accept(jobs, 40)
    with following(client, job_id) as reader:
        first = reader.next()
        assert (first.name, first.data["state"], first.id) == ("progress", "queued", None)
        assert reader.retry_ms == 2000

        succeed(jobs, redis, job_id, 35, 3)
        commit(jobs, redis, job_id, {0: FAILURE})
        events = reader.until("item") + [reader.next(), reader.next()]
        items = [event for event in events if event.name == "item"]
        assert [(item.data["index"], item.id) for item in items] == [(35, 1), (3, 2), (0, 3)]
        page = client.get(f"/jobs/{job_id}/results").json["items"]
        assert [item.data for item in items] == [page[35], page[3], page[0]]

        threading.Timer(0.3, succeed, [jobs, redis, job_id, *range(40)]).start()
        rest = reader.rest()
    assert indexes(rest) == [k for k in range(40) if k not in (0, 3, 35)]
    assert [event.id for event in rest if event.name == "item"] == list(range(4, 41))
    assert rest[-1].name == "end" and rest[-1].data["state"] == "completed"
    assert [event.data for event in rest if event.name == "progress"][-1] == rest[-1].data


def test_a_stream_goes_on_after_the_last_event(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    job_id = accept(jobs, 10)
    succeed(jobs, redis, job_id, *reversed(range(10)))
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


def test_caches_and_proxies_do_not_hold_events_back(client: FlaskClient, jobs: JobRecords) -> None:
    with client.get(f"/jobs/{accept(jobs, 1)}/events", buffered=False) as response:
        assert response.content_type == "text/event-stream; charset=utf-8"
        assert (response.headers["Cache-Control"], response.headers["X-Accel-Buffering"]) == (
            *("no-store", "no"),
        )


def test_items_may_be_left_out(client: FlaskClient, jobs: JobRecords, redis: Redis) -> None:
    job_id = accept(jobs, 3)
    succeed(jobs, redis, job_id, 0, 1, 2)
    with following(client, job_id, "items=false") as reader:
        assert [event.name for event in reader.rest()] == ["progress", "end"]


def test_a_job_of_one_picture_is_followed_too(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    job_id = accept(jobs, 1)
    with following(client, job_id) as reader:
        reader.next()
        succeed(jobs, redis, job_id, 0)
        events = reader.rest()
    assert indexes(events) == [0] and events[-1].name == "end"


def test_a_cancelled_job_ends_its_streams(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    job_id = accept(jobs, 5)
    succeed(jobs, redis, job_id, 4)
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


def test_commits_in_a_row_share_a_few_events_of_progress(
    client: FlaskClient, jobs: JobRecords, redis: Redis, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(job_feed, "_PAUSE_SECONDS", 0.1)
    job_id = accept(jobs, 200)
    worker = threading.Thread(target=succeed, args=[jobs, redis, job_id, *range(200)])
    with following(client, job_id) as reader:
        reader.next()
        worker.start()
        events = reader.rest()
    worker.join()
    assert indexes(events) == list(range(200))
    assert [event.name for event in events].count("progress") < 50


def test_a_lost_notice_costs_time_and_no_event(
    client: FlaskClient, jobs: JobRecords, redis: Redis, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(job_feed, "_POLL_SECONDS", 0.2)
    job_id = accept(jobs, 1)
    with following(client, job_id) as reader:
        reader.next()
        # commit.lua does the same and publishes a notice.
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
        before = page_reads(redis)
        succeed(jobs, redis, job_id, *range(32))
        received = [reader.until("item") for reader in readers]
        assert all(events[-1].id == 1 for events in received)
        assert page_reads(redis) - before <= 3


def page_reads(redis: Redis) -> int:
    """How often the list of finished items was read."""
    calls = redis.info("commandstats").get("cmdstat_lrange", {}).get("calls", 0)
    return int(calls)


def test_streams_are_bounded_in_number(make_app: Callable[..., OpenAPI], jobs: JobRecords) -> None:
    client = make_app(max_event_streams=3).test_client()
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
        threading.Timer(0.1, streams.end_all).start()
        assert reader.rest() == []
    assert client.get(f"/jobs/{job_id}/events").status_code == 503


def test_a_stream_ends_after_a_while(app: OpenAPI, jobs: JobRecords) -> None:
    backend: Backend = app.extensions["backend"]
    now = 1000.0
    streams = EventStreams(
        backend.commits,
        jobs.reader,
        serialise=lambda job: b"",
        most=1,
        longest_seconds=60,
        clock=lambda: now,
    )
    stream = streams.open("job", "client", None)
    assert not stream.over
    now += 59.99
    stream.wait(3600)  # it returns when the stream is about to end
    now += 0.01
    assert stream.over
    stream.close()
    assert len(streams) == 0


def test_a_request_that_makes_no_sense_is_refused(client: FlaskClient, jobs: JobRecords) -> None:
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


def test_a_stream_needs_a_slot_only_while_it_makes_a_piece() -> None:
    """Hundreds of streams of one client would each read a page of another job."""
    environ: WSGIEnvironment = {}
    slot = Slots().of("client", environ)

    class OneEvent:
        ended = False

        def new(self) -> Iterator[bytes]:
            yield b"%d" % slot.held
            self.ended = True

    class Open:
        over = False

    pieces = routes._events(Open(), OneEvent(), environ)  # type: ignore[arg-type]
    assert next(pieces).startswith(b"retry")
    assert (next(pieces), slot.held) == (b"1", False)
    assert list(pieces) == []
