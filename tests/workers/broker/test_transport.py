"""The transport raises only errors that Celery answers with a new connection."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Consumer, Producer, Queue
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError, ResponseError

from quickstart import redis_server
from tests.support.ports import free_port
from tests.support.servers.redis_process import KEEPS, RedisProcess
from workers.broker import transport

QUEUE = Queue("interactive")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[redis_server.Server]:
    """A Redis of the test's own, which the test may stop."""
    with redis_server.serving(tmp_path, free_port()) as running:
        yield running


@pytest.fixture
def connection(server: redis_server.Server) -> Iterator[Connection]:
    transport.use()
    with ExitStack() as stack:
        connection = Connection(server.url, transport_options={"socket_timeout": 2})
        stack.callback(connection.close)
        assert isinstance(connection.transport, transport.Transport)
        yield connection


def receive(connection: Connection) -> Any:
    """Send a message and take it from the queue, unacknowledged."""
    Producer(connection).publish("a part", routing_key=QUEUE.name, declare=[QUEUE])
    received: list[Any] = []
    with Consumer(connection, QUEUE, on_message=received.append):
        connection.drain_events(timeout=5)
    [message] = received
    return message


def stop(server: redis_server.Server) -> None:
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()


def test_a_connection_with_two_channels_can_be_closed_twice_without_redis(
    server: redis_server.Server, connection: Connection
) -> None:
    """Celery closes it twice: by `collect` and by `close`."""
    receive(connection)
    other = connection.channel()
    with Consumer(connection, QUEUE), Consumer(other, QUEUE), pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.1)
    assert connection.default_channel._in_poll and other._in_poll, "Redis owes two answers"
    stop(server)
    connection.collect(socket_timeout=1)
    connection.close()


def test_a_message_of_a_closed_channel_is_acknowledged_without_redis(
    server: redis_server.Server, connection: Connection
) -> None:
    message, other = receive(connection), receive(connection)
    connection.close()
    with Redis.from_url(server.url) as redis:
        assert redis.llen(QUEUE.name) == 2, "closing the channel has put both back"
        assert not redis.exists("unacked")
    stop(server)
    message.ack()
    other.reject(requeue=True)


@pytest.mark.parametrize("how", ["ack", "reject"])
def test_an_acknowledgement_without_redis_is_a_channel_error(
    server: redis_server.Server, connection: Connection, how: str
) -> None:
    message = receive(connection)
    stop(server)
    with pytest.raises(transport.NotAcknowledged) as raised:
        getattr(message, how)()
    assert isinstance(raised.value, connection.channel_errors)
    assert not isinstance(raised.value, connection.connection_errors)


def test_what_a_dead_redis_could_not_take_back_returns_with_the_next_connection(
    tmp_path: Path,
) -> None:
    transport.use()
    redis = RedisProcess(tmp_path / "redis", *KEEPS)
    redis.start()
    url = f"redis://127.0.0.1:{redis.port}/0"
    try:
        with Connection(url) as connection:
            receive(connection)
            redis.stop(signal.SIGKILL)
        redis.start()
        with Connection(url) as connection, redis.redis() as client:
            assert not client.llen(QUEUE.name)
            connection.connect()
            assert client.llen(QUEUE.name) == 1 and not client.hlen("unacked")
            assert not transport.QoS.unrestored
    finally:
        redis.stop(signal.SIGKILL)


def test_a_message_that_a_frozen_redis_could_not_note_returns_with_the_next_connection(
    server: redis_server.Server, connection: Connection
) -> None:
    Producer(connection).publish("a part", routing_key=QUEUE.name, declare=[QUEUE])
    received: list[Any] = []
    with Redis.from_url(server.url) as client, Consumer(connection, QUEUE) as consumer:
        consumer.register_callback(lambda *message: received.append(message))
        client.execute_command("ACL", "SETUSER", "default", "-zadd")
        with pytest.raises(ResponseError):
            connection.drain_events(timeout=5)
        client.execute_command("ACL", "SETUSER", "default", "+zadd")
        assert not received and not client.llen(QUEUE.name) and not client.hlen("unacked")
        with Connection(server.url) as another:
            another.connect()
            assert client.llen(QUEUE.name) == 1 and not client.hlen("unacked")
    assert not transport.QoS.unnoted and not transport.QoS.unrestored


def test_no_connection_is_made_while_redis_refuses_writes(
    server: redis_server.Server, connection: Connection
) -> None:
    with Redis.from_url(server.url) as redis:
        redis.config_set("min-replicas-to-write", 1)
        for _ in range(3):
            with pytest.raises(ResponseError, match="NOREPLICAS"):
                connection.ensure_connection(max_retries=0, reraise_as_library_errors=False)
        assert connection.transport.channels == connection.transport._avail_channels == []
        redis.config_set("min-replicas-to-write", 0)
        connection.ensure_connection(max_retries=0, reraise_as_library_errors=False)
        assert not redis.exists("unacked_index"), "the probe writes nothing"
    receive(connection).ack()


def test_a_closed_channel_opens_no_socket(connection: Connection) -> None:
    channel = connection.channel()
    channel.close()
    with pytest.raises(RedisConnectionError, match="the channel is closed"):
        channel._create_client()


def test_a_paused_process_takes_no_message_of_any_channel(connection: Connection) -> None:
    producer = Producer(connection)
    received: list[Any] = []
    transport.pause(True)
    try:
        producer.publish("a part", routing_key=QUEUE.name, declare=[QUEUE])
        with Consumer(connection, QUEUE, on_message=received.append), pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.5)
        assert connection.default_channel.client.llen(QUEUE.name) == 1
    finally:
        transport.pause(False)
    with Consumer(connection, QUEUE, on_message=received.append):
        connection.drain_events(timeout=5)
    assert len(received) == 1


def test_a_queue_that_is_added_counts_at_once_while_waits_are_brief(
    connection: Connection,
) -> None:
    added = Queue("interactive.v2")
    received: list[Any] = []
    transport.wait_briefly(True)
    try:
        with Consumer(connection, QUEUE, on_message=received.append) as consumer:
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=0.02)
            assert connection.default_channel._in_poll, "a wait for the first queue has begun"
            consumer.add_queue(added)
            consumer.consume()
            Producer(connection).publish("a part", routing_key=added.name, declare=[added])
            began = time.monotonic()
            connection.drain_events(timeout=5)
            assert time.monotonic() - began < 0.5, "kombu's own wait lasts a second"
    finally:
        transport.wait_briefly(False)
    assert len(received) == 1
