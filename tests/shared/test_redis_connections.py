"""A client of a server that becomes a replica, as in a failover behind one address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.redis_client import connect
from tests.support.servers.redis_process import RedisProcess


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisProcess]:
    running = RedisProcess(tmp_path / "server")
    running.start()
    yield running
    running.stop()


def write(client: Redis) -> None:
    client.set("key", "value")


def write_in_a_transaction(client: Redis) -> None:
    client.pipeline(transaction=True).set("key", "value").incr("number").execute()


def write_in_a_script(client: Redis) -> None:
    client.eval("return redis.call('SET', KEYS[1], 'value')", 1, "key")


@pytest.mark.parametrize("change", [write, write_in_a_transaction, write_in_a_script])
def test_a_refused_write_leaves_the_replica(server: RedisProcess, change: object) -> None:
    client = connect(f"redis://127.0.0.1:{server.port}/0", max_connections=1)
    with closing(client.connection_pool), server.redis() as operator:
        change(client)  # type: ignore[operator]
        before = client.client_id()
        operator.replicaof("127.0.0.1", 1)
        with pytest.raises(RedisConnectionError, match="is a replica now"):
            change(client)  # type: ignore[operator]
        operator.replicaof("NO", "ONE")
        change(client)  # type: ignore[operator]
        assert client.client_id() != before
