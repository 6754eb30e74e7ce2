"""A body for which there is no memory waits a while. Nothing of it is read meanwhile."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import gevent
import pytest
from gevent.event import Event
from redis import Redis

from shared.errors import Overloaded
from shared.jobs import Lane
from shared.records.job_records import JobRecords
from shared.settings import Settings
from web.submit import bodies, early_refusals
from web.submit.admission import Admission
from web.submit.bodies import BODY, Bodies
from web.submit.early_refusals import EarlyRefusals

CLASSIFY, PART = "/api/v1/classify", "/api/v1/jobs/j/parts/0"


class Web:
    """The middleware, and an application that reads a body when it is told to."""

    def __init__(self, admission: Admission, *, places: int = 100, seconds: float = 20) -> None:
        self.bodies = Bodies(most=places, memory=1000, disk=1000, wait_seconds=seconds)
        self.read: list[str] = []
        self.statuses: dict[str, str] = {}
        self._may_store: dict[str, Event] = {}
        self._requests: list[gevent.Greenlet] = []
        self._middleware = EarlyRefusals(
            self._app,
            admission,
            self.bodies,
            early_refusals.reservations(largest_picture=1000, largest_body=10_000),
            bodies.sizes(Settings(max_image_bytes=500)),
            owner_of=lambda request: "",
        )

    def send(self, name: str, size: int | None = 400, path: str = CLASSIFY) -> gevent.Greenlet:
        """A request of client `name[0]`; without a size its body comes in chunks."""
        environ: dict[str, Any] = {
            "PATH_INFO": path,
            "REQUEST_METHOD": "POST" if path == CLASSIFY else "PUT",
            "REMOTE_ADDR": f"10.0.0.{ord(name[0])}",
            "wsgi.input": io.BytesIO(),
            "name": name,
        }
        if size is None:
            environ["HTTP_TRANSFER_ENCODING"] = "chunked"
        else:
            environ["CONTENT_LENGTH"] = str(size)
        self._may_store[name] = Event()
        self._requests.append(gevent.spawn(self._ask, environ))
        gevent.idle()
        return self._requests[-1]

    def store(self, name: str) -> None:
        self._may_store[name].set()
        gevent.idle()

    def end(self) -> None:
        """End all requests. Afterwards nothing is held."""
        gevent.killall(self._requests)
        assert self.bodies.memory.take("anybody", 10**9)
        assert self.bodies.places.take("anybody", 10**9)

    def _ask(self, environ: WSGIEnvironment) -> None:
        def start(status: str, headers: object, *more: object) -> Callable[[bytes], None]:
            self.statuses[environ["name"]] = status
            return lambda data: None

        list(self._middleware(environ, start))

    def _app(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        self.read.append(environ["name"])
        self._may_store[environ["name"]].wait()
        environ[BODY].free_memory()
        gevent.sleep(1000)  # its client waits for the result
        return []


@pytest.fixture
def admission(redis: Redis, jobs: JobRecords) -> Admission:
    return Admission(redis, jobs.submitter, max_images=dict.fromkeys(Lane, 99), max_bytes=2**30)


def test_a_body_waits_until_another_is_stored(admission: Admission) -> None:
    web = Web(admission)
    for name in ("a1", "a2", "a3"):
        web.send(name)
    assert (web.read, web.statuses) == (["a1"], {})
    web.store("a1")
    assert web.read == ["a1", "a2"]
    web.store("a2")
    assert (web.read, web.statuses) == (["a1", "a2", "a3"], {})
    web.end()


def test_a_body_of_another_client_does_not_wait_behind_it(admission: Admission) -> None:
    web = Web(admission)
    for name in ("a1", "a2", "a3", "b1"):
        web.send(name, 250)
    assert web.read == ["a1", "a2", "b1"]
    web.end()


def test_a_wait_ends_with_a_refusal_and_nothing_was_read(admission: Admission) -> None:
    web = Web(admission, seconds=0.01)
    web.send("a1")
    web.send("a2").join(5)
    assert (web.read, web.statuses) == (["a1"], {"a2": "503 Service Unavailable"})
    web.end()


def test_no_more_wait_than_may_be_submitted_at_a_time(admission: Admission) -> None:
    web = Web(admission, places=8)
    for number in range(6):
        web.send(f"a{number}")
    assert web.read == ["a0"]
    assert web.statuses == dict.fromkeys(("a4", "a5"), "503 Service Unavailable")
    web.send("b0")
    assert web.read == ["a0", "b0"]
    web.end()


def test_a_body_in_chunks_waits_as_the_longest_that_is_read(
    admission: Admission,
) -> None:
    web = Web(admission)
    web.send("a1")
    web.send("a2", None)
    assert web.read == ["a1"]
    web.store("a1")
    assert web.read == ["a1", "a2"]
    web.end()


def test_a_picture_does_not_wait_behind_parts_of_its_client(
    admission: Admission,
) -> None:
    web = Web(admission)
    web.send("a1", 400, PART)
    web.send("a2", 400, PART)
    web.send("a3", 50)
    assert web.read == ["a1", "a3"]
    web.end()


def test_a_request_that_is_killed_while_it_waits_holds_nothing(
    admission: Admission,
) -> None:
    web = Web(admission)
    web.send("a1")
    web.send("a2").kill()
    web.store("a1")
    web.send("a3")
    assert web.read == ["a1", "a3"]
    web.end()


def test_a_body_holds_nothing_after_a_refusal() -> None:
    held = Bodies(most=4, memory=100, disk=100)
    with held.of("a") as first:
        first.take(bodies.Size(80))
        with pytest.raises(Overloaded), held.of("a") as second:
            second.take(bodies.Size(80))
    assert held.memory.take("b", 1000) and held.places.take("b", 1000)
