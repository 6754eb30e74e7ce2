"""Connections that leave a server which is a replica now, and that explain a refused certificate.

After a failover the old server may be back as a replica. It keeps its connections open and refuses
each write. redis-py would keep these connections in its pool. Until Sentinel makes it a replica,
the old server also answers reads, and knows nothing of what was stored since.
"""

from __future__ import annotations

import ssl
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError

from shared.addresses.redis_address import Host, RedisAddress

#: OpenSSL's codes for a certificate of another host name or address.
_MISMATCHES = (62, 64)


class _LeavesReplicas:
    @property
    def is_outdated(self) -> bool:
        """Whether another connection has found a new master since this one was made."""
        return False

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except ResponseError as error:
            # An error in a script had its code in the text until Redis 7.
            if not (isinstance(error, ReadOnlyError) or "-READONLY" in str(error)):
                raise
            # The next use connects again: the address, or Sentinel, leads to the new server.
            self.disconnect()  # type: ignore[attr-defined]
            raise RedisConnectionError(f"this server is a replica now: {error}") from error


class PlainConnection(_LeavesReplicas, Connection):
    pass


class SocketConnection(_LeavesReplicas, UnixDomainSocketConnection):
    pass


class TLSConnection(_LeavesReplicas, SSLConnection):
    """Checks the certificate before it sends the password."""

    def _error_message(self, exception: BaseException) -> str:
        if not isinstance(exception, ssl.SSLCertVerificationError):
            return str(super()._error_message(exception))  # type: ignore[no-untyped-call]
        hint = "REDIS_URL names the authorities that are trusted: ?ssl_ca_certs=FILE"
        if exception.verify_code in _MISMATCHES:
            hint = "use a name or address that the certificate has"
        return (
            f"the certificate of Redis at {self.host}:{self.port} was refused, and no password was "
            f"sent: {exception.verify_message.rstrip('.')}; {hint}"
        )


class MasterFinder:
    """Asks one Sentinel after the other where the master is."""

    def __init__(self, address: RedisAddress, *, timeout_seconds: float) -> None:
        assert address.sentinels
        self._name = address.sentinels.master
        options: dict[str, Any] = {
            **address.sentinels.login,
            **({"ssl": True, **address.tls} if address.tls else {}),
            "socket_timeout": timeout_seconds,
            "socket_connect_timeout": timeout_seconds,
            # The next Sentinel is asked instead.
            "retry": Retry(NoBackoff(), retries=0),
            "decode_responses": True,
        }
        #: The one that answered last comes first.
        self._sentinels = [(host, Redis(*host, **options)) for host in address.sentinels.hosts]
        #: The last master that was found.
        self.master: Host | None = None

    def __call__(self) -> Host:
        """Raises MasterNotFoundError, a redis.ConnectionError, while there is none."""
        problems = []
        for sentinel in tuple(self._sentinels):
            (host, port), client = sentinel
            try:
                master: Any = client.sentinel_get_master_addr_by_name(self._name)
            except RedisError as error:
                problems.append(f"{host}:{port}: {error}")
                continue
            if master:
                self._sentinels.sort(key=lambda each: each is not sentinel)
                self.master = master[0], int(master[1])
                return self.master
            problems.append(f"{host}:{port} knows no {self._name!r}")
        raise MasterNotFoundError(f"no Sentinel names a master ({'; '.join(problems)})")


class _FollowsMaster:
    host: str
    port: int
    is_connected: bool

    def __init__(self, *, find_master: MasterFinder, **options: Any) -> None:
        self._find_master = find_master
        super().__init__(**options)

    @property
    def is_outdated(self) -> bool:
        return self.is_connected and (self.host, self.port) != self._find_master.master

    def _connect(self) -> Any:
        self.host, self.port = self._find_master()
        return super()._connect()  # type: ignore[misc]


class MasterConnection(_FollowsMaster, PlainConnection):
    pass


class MasterTLSConnection(_FollowsMaster, TLSConnection):
    pass


def connection_class(address: RedisAddress) -> type[Any]:
    """Those that follow a master also need the option `find_master`."""
    if address.is_socket:
        return SocketConnection
    if address.sentinels:
        return MasterTLSConnection if address.tls else MasterConnection
    return TLSConnection if address.tls else PlainConnection
