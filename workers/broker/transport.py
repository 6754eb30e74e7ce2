"""kombu's Redis transport, with which an outage of Redis does not end a worker.

An outage is an absent Redis, or one that refuses writes (READONLY, MISCONF, OOM). Celery then
closes the broken connection and makes a new one. With kombu 5.7.0 and Celery 5.7.0 three errors
leave this path and end the worker:

- Celery closes a broken connection twice. The second time kombu looks for the address of the
  connection, which the first time has removed: AttributeError.
- A micro-batch that outlives its connection is acknowledged on the closed channel: the same error.
- Redis refuses the acknowledgement, or kombu's note about a message: ResponseError. This ends a
  worker unless `broker_channel_error_retry` is set.

While the operator has paused a lane, its workers take no messages: `pause`. Until a worker consumes
all of its queues, it waits for messages briefly: `wait_briefly`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar

from kombu.transport import TRANSPORT_ALIASES, redis
from redis.exceptions import ConnectionError as RedisConnectionError, RedisError, ResponseError

from shared import clock
from shared.redis_client import connections

_BRIEF_SECONDS = 0.1


def use() -> None:
    """Let every address of this process use the transports below."""
    # Workers compare these times: one returns the messages that another has held for too long.
    redis.time = clock.reading
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:SentinelTransport"


def pause(paused: bool) -> None:
    """Let this process take no messages from its queues, or take them again.

    It holds for all queues and over reconnects. One message may still come.
    """
    Channel.paused = paused


def wait_briefly(brief: bool) -> None:
    """Let each wait of this process for a message be brief, or end that.

    A queue that is added counts from the next wait on. Without this, its first message would wait
    until the one that has begun ends.
    """
    Channel.wait_seconds = _BRIEF_SECONDS if brief else None


class NotAcknowledged(ResponseError):
    """Redis did not take an acknowledgement.

    A channel error for Celery, which answers with a new connection. Celery would only log a
    connection error, and the message would hold its place in the prefetch window.
    """


class QoS(redis.QoS):  # type: ignore[misc]
    """Acknowledges messages, unless their channel is closed.

    The messages of a closed channel are in the queue again, or return with the next connection. If
    this process ends before that, they return after the visibility timeout, or with the deadline of
    their parts. A second delivery changes no result.
    """

    #: Of this process: tags of messages that Redis could not take back when their channel closed.
    unrestored: ClassVar[list[str]] = []
    #: Of this process: messages that have left their queue, and that Redis could not note.
    unnoted: ClassVar[list[Any]] = []

    def append(self, message: Any, delivery_tag: str) -> None:
        """Called by kombu with each message that it has taken from a queue."""
        try:
            super().append(message, delivery_tag)
        except RedisError:
            self.unnoted.append(message)
            raise

    def restore_unacked(self, client: Any = None) -> None:
        """Called by kombu when the channel closes, which may be because Redis is away."""
        self.unrestored.extend(self._delivered)
        self._delivered.clear()
        with suppress(RedisError):
            self.restore_the_rest()

    def restore_the_rest(self) -> None:
        """Return the messages of closed channels to their queues, the oldest as the next one.

        Raises RedisError. Only the event loop of the worker calls this.
        """
        while self.unnoted:
            message = self.unnoted[-1]
            super().append(message, message.delivery_tag)
            self.unnoted.pop()
            self.unrestored.append(message.delivery_tag)
            self._delivered.pop(message.delivery_tag)
        while self.unrestored:
            self.restore_by_tag(self.unrestored[-1])
            self.unrestored.pop()

    def ack(self, delivery_tag: str) -> None:
        if self.channel.is_open:
            try:
                super().ack(delivery_tag)
            except self.channel.connection_errors as error:
                raise NotAcknowledged(str(error)) from error

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if self.channel.is_open:
            try:
                super().reject(delivery_tag, requeue=requeue)
            except self.channel.connection_errors as error:
                raise NotAcknowledged(str(error)) from error

    def put_back(self, delivery_tag: str) -> None:
        """Make a message the next of its queue. `reject` makes it the last."""
        if self.channel.is_open:
            try:
                self.restore_by_tag(delivery_tag)
            except self.channel.connection_errors as error:
                raise NotAcknowledged(str(error)) from error
            self._quick_ack(delivery_tag)


class Channel(redis.Channel):  # type: ignore[misc]
    QoS = QoS
    connection_class_ssl: type[Any] = connections.TLSConnection

    #: Of this process: while it is set, no channel takes messages from its queues.
    paused = False
    #: Of this process: the longest wait for a message; None for kombu's own.
    wait_seconds: float | None = None

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Called by kombu before each wait for a message.

        A wait that has begun is not ended: its message has perhaps left the queue already.
        """
        if not self.paused:
            super()._brpop_start(self.wait_seconds or timeout)

    @property
    def is_open(self) -> bool:
        return not self.closed and self._has_address

    @property
    def _has_address(self) -> bool:
        return bool(self.connection and self.connection.client)

    def _connparams(self, asynchronous: bool = False) -> Any:
        """Called by kombu before it opens a socket. Raises ConnectionError on a closed channel."""
        if not self._has_address:
            raise RedisConnectionError("the channel is closed")
        return super()._connparams(asynchronous)


class Transport(redis.Transport):  # type: ignore[misc]
    Channel = Channel

    def establish_connection(self) -> Any:
        """Raises ResponseError while Redis refuses writes; Celery pauses and tries again."""
        connection = super().establish_connection()
        channel = self._avail_channels[-1]
        try:
            # With XX it adds nothing. Redis refuses it whenever it would refuse a real write.
            channel.client.zadd(channel.unacked_index_key, {"": 0}, xx=True)
            channel.qos.restore_the_rest()
        except ResponseError:
            self._avail_channels.remove(channel)
            channel.close()
            raise
        return connection


class SentinelChannel(Channel):
    """Connects to the server that Sentinel names, as the job records do.

    kombu's own channel knows one Sentinel only, unless the address repeats its scheme and password.
    """

    from_transport_options = (*Channel.from_transport_options, "find_master")
    connection_class = connections.MasterConnection
    connection_class_ssl = connections.MasterTLSConnection

    def _connparams(self, asynchronous: bool = False) -> Any:
        return super()._connparams(asynchronous) | {"find_master": self.find_master}


class SentinelTransport(Transport):
    Channel = SentinelChannel
