"""Admission in front of Flask: a submission for which there is no room is refused.

Its body has not been read then. It waits for memory for some seconds, and for nothing else.

A request of any kind is refused here if its client has too many under way, or if its client has
closed the connection before the request began.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from redis.exceptions import RedisError
from werkzeug.wrappers import Request

from shared.errors import Overloaded, TryLater
from shared.jobs import Lane
from web.http import auth, clients
from web.http.api_keys import Scope
from web.intake.uploads import FORM_OVERHEAD
from web.server.fairness.departures import DEPARTURES
from web.server.fairness.entrance import ENTRANCE, go_on
from web.server.fairness.pacing import note_client
from web.server.fairness.places import PLACES
from web.server.fairness.slots import Slots
from web.submit.admission import Admission
from web.submit.bodies import BODY, Bodies, Size
from web.submit.refusals import Refusals
from web.submit.room import Room

#: In the WSGI environment: the room that a submission has reserved, and the outage that the
#: application has to report.
ROOM = "classifier.room"
OBJECTION = "classifier.objection"

#: Where parts are sent: the rule of the route, and how its paths begin.
_PART, _JOBS = "/api/v1/jobs/<job_id>/parts/<number>", "/api/v1/jobs/"

#: An orchestrator ends a process that answers these late, and may share the address of clients.
_PROBES = frozenset({"/livez", "/readyz"})

#: A client asks more at a time than can be answered.
_RETRY_AFTER_SECONDS = 5

#: Reserves room for a request, or raises TryLater or RedisError.
Reserve = Callable[[Request, Room], None]


def reservations(*, largest_picture: int, largest_body: int) -> Mapping[str, Reserve]:
    """How each route that accepts pictures reserves room; the two sizes are in bytes."""

    def for_picture(request: Request, room: Room) -> None:
        room.reserve([Lane.INTERACTIVE], size=request.content_length or 0)

    def for_job(request: Request, room: Room) -> None:
        if request.mimetype == "application/json":  # its pictures follow in parts
            return
        size = request.content_length or 0
        lanes = _lanes(request, may_be_one=size <= largest_picture + FORM_OVERHEAD)
        # A larger body is an archive, whose parts ask for room one after the other.
        room.reserve(lanes, size=min(size, largest_body))

    def for_part(request: Request, room: Room) -> None:
        """The route does it. It knows the job and its lane."""

    return {"/api/v1/classify": for_picture, "/api/v1/jobs": for_job, _PART: for_part}


def _lanes(request: Request, *, may_be_one: bool) -> Sequence[Lane]:
    """Lanes that a job may be for, as far as its head tells."""
    with suppress(ValueError):  # the schema will refuse it
        return [Lane(request.args.get("lane", ""))]
    return [Lane.BULK, Lane.INTERACTIVE] if may_be_one else [Lane.BULK]


class EarlyRefusals:
    """Middleware: reserves room for a submission and its body, and answers it if there is none.

    A process holds a limited number of submissions, which may wait as long as a client may, and a
    limited number of bytes of their bodies. Otherwise all that the lanes of the whole service hold
    could fill one process's memory and connections, and then no refusal could be answered.

    A client that has no access gets its answer from the application, which does not say that the
    service is full, and reads no body.
    """

    def __init__(
        self,
        app: WSGIApplication,
        admission: Admission,
        bodies: Bodies,
        reservations: Mapping[str, Reserve],
        sizes: Mapping[str, Callable[[Request], Size]],
        *,
        owner_of: Callable[[Request], str | None],
    ) -> None:
        """Both mappings are by the rule of a route.

        `owner_of` notes the API key of a request, and gives its name. That name is
        empty if keys are off, and None if the client has no access.
        """
        self._app = app
        self._admission = admission
        self._bodies = bodies
        self._routes = {
            rule: _Route(rule, reservations[rule], sizes[rule], Refusals(rule, _method(rule)))
            for rule in sizes
        }
        self._others = Refusals("unknown", "other")
        self._owner_of = owner_of
        self._slots = Slots()

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        began = time.perf_counter()
        route = self._route(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        request = Request(environ)
        owner = self._owner_of(request)  # without a valid key, the address counts
        name = clients.name_of(request)
        try:
            if route is None and environ["PATH_INFO"] in _PROBES:
                # It may come from the address of a busy client, and waits for other probes alone.
                ENTRANCE.wait(f"probes of {name}", environ, is_probe=True)
                return self._app(environ, start)
            note_client(name)  # a refused body is read in the turn of this client
            if not PLACES.take(name):
                raise Overloaded(retry_after_seconds=_RETRY_AFTER_SECONDS)
            ENTRANCE.wait(name, environ)
            if route is None:
                return self._answer_in_turn(name, environ, start)
            if owner is None or not auth.has_scope(environ, Scope.CLASSIFY):
                return self._app(environ, start)
            # However the request ends, its room is given back here, if that is not done yet.
            client = clients.of(request)
            with self._bodies.of(client.name) as body, self._admission.room(client) as room:
                environ[BODY], environ[ROOM] = body, room
                return self._submit(route, request, start)
        except TryLater as refusal:
            refusals = route.refusals if route else self._others
            return refusals.answer(refusal, environ, start, began)

    def _answer_in_turn(
        self, name: str, environ: WSGIEnvironment, start: StartResponse
    ) -> Iterable[bytes]:
        with self._slots.of(name, environ) as slot:
            if not slot.came:
                environ[OBJECTION] = Overloaded(retry_after_seconds=_RETRY_AFTER_SECONDS)
            return self._app(environ, start)

    def _route(self, method: str, path: str) -> _Route | None:
        if method == "POST":
            return self._routes.get(path)
        return self._routes[_PART] if method == "PUT" and path.startswith(_JOBS) else None

    def _submit(self, route: _Route, request: Request, start: StartResponse) -> Iterable[bytes]:
        environ = request.environ
        try:
            with DEPARTURES.ending(environ.get("gunicorn.socket")):
                environ[BODY].take(route.size(request), route.path)
            go_on(environ)  # bodies that have waited may get their memory at the same moment
            route.reserve(request, environ[ROOM])
        except RedisError as outage:
            environ[OBJECTION] = outage
        return self._app(environ, start)


def _method(rule: str) -> str:
    return "PUT" if rule == _PART else "POST"


class _Route(NamedTuple):
    """A path that accepts pictures."""

    path: str
    reserve: Reserve
    size: Callable[[Request], Size]
    refusals: Refusals
