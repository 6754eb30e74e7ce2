"""Questions of one client wait for its slots, and those of another do not wait for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from wsgiref.types import WSGIEnvironment

import gevent
import pytest
from gevent import socket

from tests.web.server.conftest import Connection
from web.server.fairness import slots
from web.server.fairness.departures import DEPARTURES, ClientGone
from web.server.fairness.slots import Slots


def test_four_questions_of_a_client_are_under_way_at_a_time() -> None:
    all_slots, under_way = Slots(), []

    def ask(client: str) -> None:
        with all_slots.of(client, {}):
            under_way.append(client)
            gevent.sleep(0.2)

    questions = [gevent.spawn(ask, "one") for _ in range(9)]
    gevent.sleep(0.05)
    questions.append(gevent.spawn(ask, "other"))
    gevent.sleep(0.05)
    assert under_way == 4 * ["one"] + ["other"]
    gevent.joinall(questions, raise_error=True)
    assert under_way.count("one") == 9


def test_a_question_that_only_waits_lets_the_next_begin() -> None:
    all_slots = Slots()
    environs: list[WSGIEnvironment] = [{} for _ in range(5)]
    held = [all_slots.of("client", environ) for environ in environs]
    for slot in held[:4]:
        slot.__enter__()
    slots.give_back(environs[0])
    with gevent.Timeout(1), held[4] as slot:
        assert slot.came


def test_a_question_that_has_waited_needs_a_slot_again() -> None:
    all_slots = Slots()
    environs: list[WSGIEnvironment] = [{} for _ in range(5)]
    held = [all_slots.of("client", environ) for environ in environs]
    answered = []

    def ask(number: int) -> None:
        with held[number]:
            slots.give_back(environs[number])
            gevent.sleep(0.01)
            slots.take_again(environs[number])
            slots.take_again(environs[number])  # it has one
            answered.append(number)
            gevent.sleep(0.1)

    questions = [gevent.spawn(ask, number) for number in range(5)]
    gevent.sleep(0.05)
    assert answered == [0, 1, 2, 3]
    gevent.joinall(questions, raise_error=True)
    assert answered == [0, 1, 2, 3, 4] and not any(slot.held for slot in held)


def test_a_wait_for_a_turn_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_LONGEST_SECONDS", 0.01)
    all_slots = Slots()
    held = [all_slots.of("client", {}).__enter__() for _ in range(4)]
    with all_slots.of("client", {}) as late:
        assert not late.came
    held[0].give_back()
    with all_slots.of("client", {}) as next_one:
        assert next_one.came


def test_a_question_whose_client_has_gone_waits_no_more(
    monkeypatch: pytest.MonkeyPatch, connect: Callable[[], Connection]
) -> None:
    monkeypatch.setattr(DEPARTURES, "_seconds", 0.01)
    all_slots, connection = Slots(), connect()
    held = [all_slots.of("client", {}).__enter__() for _ in range(4)]
    connection.client.close()
    environ: WSGIEnvironment = {"gunicorn.socket": connection.far}
    gone = all_slots.of("client", environ)
    with gevent.Timeout(5), pytest.raises(ClientGone), gone:
        pass
    slots.take_again(environ)  # its answer leaves without a slot
    assert not gone.held
    held[0].give_back()
    with gevent.Timeout(5), all_slots.of("client", {}) as next_one:
        assert next_one.came


def test_a_client_that_may_still_read_waits_for_the_pieces_of_its_stream(
    monkeypatch: pytest.MonkeyPatch, connect: Callable[[], Connection]
) -> None:
    """A client that has closed only its sending half would get pieces without a slot."""
    monkeypatch.setattr(DEPARTURES, "_seconds", 0.01)
    all_slots, connection = Slots(), connect()
    connection.client.shutdown(socket.SHUT_WR)
    its_piece_waits_for_a_slot(all_slots, {"gunicorn.socket": connection.far})


def its_piece_waits_for_a_slot(all_slots: Slots, environ: WSGIEnvironment) -> None:
    all_slots.of("client", environ)
    held = [all_slots.of("client", {}).__enter__() for _ in range(4)]
    piece = gevent.spawn(next, slots.in_slots([b"a piece"], environ))
    gevent.sleep(0.1)
    assert not piece.ready()
    held[0].give_back()
    assert piece.get(timeout=5) == b"a piece"


def test_each_piece_of_a_stream_takes_a_turn() -> None:
    environ: WSGIEnvironment = {}
    slot = Slots().of("client", environ)

    def pieces() -> Iterator[bytes]:
        yield b"%d" % slot.held
        yield b"%d" % slot.held

    stream = slots.in_slots(pieces(), environ)
    assert (next(stream), slot.held) == (b"1", False)
    assert list(stream) == [b"1"]


def test_a_stream_without_a_piece_for_long_lets_others_run(
    connect: Callable[[], Connection],
) -> None:
    all_slots = Slots()
    running = [0]

    def steps() -> Iterator[bytes]:
        for _ in range(20):
            running[0] += 1
            assert running[0] <= 4
            gevent.sleep(0.001)
            running[0] -= 1
            yield b""

    def read() -> list[bytes]:
        environ: WSGIEnvironment = {"gunicorn.socket": connect().far}
        all_slots.of("client", environ)
        return list(slots.in_slots(steps(), environ))

    streams = [gevent.spawn(read) for _ in range(9)]
    gevent.joinall(streams, raise_error=True)
    assert all(each.value == [] for each in streams)


def test_no_step_is_made_without_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_LONGEST_SECONDS", 0.01)
    its_piece_waits_for_a_slot(Slots(), {})


def test_a_stream_that_sends_nothing_ends_when_its_client_has_gone(
    connect: Callable[[], Connection],
) -> None:
    connection = connect()
    environ: WSGIEnvironment = {"gunicorn.socket": connection.far}
    Slots().of("client", environ)
    stream = slots.in_slots([b"a piece", b"", b"another"], environ)
    assert next(stream) == b"a piece"
    connection.client.close()
    with pytest.raises(ConnectionResetError):
        next(stream)
