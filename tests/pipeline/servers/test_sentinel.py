"""Sentinel puts a replica in the place of a dead Redis. No accepted picture is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
from redis.connection import Connection
from redis.exceptions import RedisError
from redis.sentinel import MasterNotFoundError

from shared.jobs import Lane
from shared.redis_client import connect
from tests.pipeline.crowd import Crowd, assert_all_labelled
from tests.pipeline.servers.flower import broker_page
from tests.support.local_service import local_service
from tests.support.servers.redis_process import KEEPS, RedisProcess
from tests.support.waiting import wait_until

pytestmark = pytest.mark.long

NAME = "pictures"
PASSWORD = "sesame"
SENTINEL_PASSWORD = "another"

_SETTINGS = {
    "RECONCILE_SECONDS": "1",
    "WORKER_PROCESSES": "1",
    "WEB_PROCESSES": "1",
    "REDIS_WAIT_REPLICAS": "1",
}


class Group:
    """A Redis with two replicas, and three Sentinels."""

    def __init__(self, folder: Path) -> None:
        login = ("requirepass", PASSWORD, "masterauth", PASSWORD)
        client = {"password": PASSWORD}
        self.servers = [RedisProcess(folder / "0", *KEEPS, *login, client=client)]
        of = ("replicaof", f"127.0.0.1 {self.servers[0].port}")
        for k in (1, 2):
            server = RedisProcess(folder / f"{k}", *KEEPS, *login, *of, client=client)
            self.servers.append(server)
        self.sentinels = [self._sentinel(folder / f"sentinel{k}") for k in range(3)]

    def _sentinel(self, folder: Path) -> RedisProcess:
        return RedisProcess(
            folder,
            *("requirepass", SENTINEL_PASSWORD),
            *("sentinel sentinel-pass", SENTINEL_PASSWORD),
            *("sentinel monitor", f"{NAME} 127.0.0.1 {self.servers[0].port} 2"),
            *("sentinel auth-pass", f"{NAME} {PASSWORD}"),
            *("sentinel down-after-milliseconds", f"{NAME} 1000"),
            *("sentinel failover-timeout", f"{NAME} 5000"),
            client={"password": SENTINEL_PASSWORD},
        )

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"sentinel://:{PASSWORD}@{hosts}/{NAME}/0?sentinel_password={SENTINEL_PASSWORD}"

    def master(self) -> RedisProcess:
        with self.sentinels[1].redis() as sentinel:
            _, port = sentinel.sentinel_get_master_addr_by_name(NAME)
        return next(each for each in self.servers if each.port == port)

    def await_agreement(self) -> None:
        """Each Sentinel knows the two others and both replicas."""

        def agree() -> bool:
            for sentinel in self.sentinels:
                with sentinel.redis() as client:
                    state = client.sentinel_master(NAME)
                if (state["num-other-sentinels"], state["num-slaves"]) != (2, 2):
                    return False
            return True

        wait_until(agree, 30)


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    group = Group(tmp_path_factory.mktemp("group"))
    with ExitStack() as stack:
        for process in (*group.servers, *group.sentinels):
            stack.callback(process.stop, signal.SIGKILL)
            process.start()
        group.await_agreement()
        yield group


def test_sentinel_asks_for_its_own_password(group: Group) -> None:
    client = connect(group.url, max_connections=1)
    with closing(client.connection_pool):
        assert client.ping()
    without = connect(group.url.partition("?")[0], max_connections=1)
    problem = rf"no Sentinel names a master \(127.0.0.1:{group.sentinels[0].port}: .*authenticate"
    with closing(without.connection_pool), pytest.raises(MasterNotFoundError, match=problem):
        without.ping()
    other = connect(group.url.replace(f"/{NAME}/", "/another/"), max_connections=1)
    with (
        closing(other.connection_pool),
        pytest.raises(MasterNotFoundError, match="knows no 'another'"),
    ):
        other.ping()


def test_all_connections_leave_the_old_server_when_one_has_found_the_new(group: Group) -> None:
    client = connect(group.url, max_connections=2)
    pool, before = client.connection_pool, group.master()
    with closing(pool):
        one, other = pool.get_connection(), pool.get_connection()
        with _away(before, frozen=True):
            wait_until(lambda: group.master() is not before, 30)
            # Not every Sentinel learns of the new master at the same moment.
            wait_until(lambda: _reconnected(one).port == group.master().port, 30)
        pool.release(other)  # the old server answers again
        assert pool.get_connection() is other and other.port == group.master().port
    group.await_agreement()


def _reconnected(connection: Connection) -> Connection:
    connection.disconnect()
    with suppress(RedisError):
        connection.connect()
    return connection


def test_flower_shows_its_broker(group: Group) -> None:
    page = broker_page(group.url)
    assert page.status_code == 200 and "interactive" in page.text


def test_no_accepted_picture_is_lost_in_failovers(
    group: Group, model_environment: dict[str, str], tmp_path: Path, pictures: list[Path]
) -> None:
    environment = model_environment | _SETTINGS
    with local_service(tmp_path, environment, redis_url=group.url) as service:
        service.start_worker(Lane.INTERACTIVE)
        service.start_web()
        service.await_ready()
        with Crowd(service, pictures) as crowd:
            for frozen in (False, True):
                crowd.wait_for_labels(20)
                before = group.master()
                with _away(before, frozen=frozen):
                    wait_until(lambda old=before: group.master() is not old, 30)
                    # Celery's main process may wait for a frozen server with three calls, one
                    # after the other: two of 5 s, and a BRPOP of 11 s.
                    crowd.wait_for_labels(20)
                # It comes back as a replica.
                group.await_agreement()
        assert_all_labelled(service, crowd)


@contextmanager
def _away(server: RedisProcess, *, frozen: bool) -> Iterator[None]:
    if frozen:
        os.kill(server.pid, signal.SIGSTOP)
        yield
        os.kill(server.pid, signal.SIGCONT)
    else:
        server.stop(signal.SIGKILL)
        yield
        server.start()
