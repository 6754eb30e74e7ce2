"""Hundreds of open event streams. They cost little, and make room for others when they end."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import httpx
import pytest

from shared.records.job_records import JobRecords
from shared.jobs import (
    PART_SIZE,
    ItemState,
    Lane,
    NewItem,
    NewJob,
    Outcome,
    PartRef,
    Prediction,
    new_job_id,
)
from shared.redis_client import connect
from tests.support.local_service import LocalService, local_service
from tests.support.work import commit

STREAMS = 300
PARTS = 40
PREDICTIONS = tuple(Prediction(k, f"a class of pictures {k}", 0.123) for k in range(5))
SUCCESS = Outcome(state=ItemState.SUCCEEDED, predictions=PREDICTIONS, model_version="m-1")


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """Redis and one web process. The tests do a worker's part."""
    folder = tmp_path_factory.mktemp("events")
    own = {"WEB_PROCESSES": "1", "DATA_DIR": str(folder), "MAX_EVENT_STREAMS": str(2 * STREAMS)}
    with local_service(folder, os.environ | own) as running:
        running.start_web()
        running.await_web()
        yield running


@pytest.fixture(scope="module")
def jobs(web: LocalService) -> Iterator[JobRecords]:
    redis = connect(web.redis_url, max_connections=2)
    yield JobRecords(redis, result_ttl_seconds=3600, part_deadline_seconds=60)
    redis.connection_pool.disconnect()


def accept(jobs: JobRecords, items: int, outcome: Outcome | None = None) -> str:
    job_id = new_job_id()
    new = [
        NewItem(name=f"{k}.jpg", digest=f"{k:064x}", data=b"x", outcome=outcome)
        for k in range(items)
    ]
    jobs.submitter.accept([NewJob(id=job_id, lane=Lane.BULK, top_k=5, items=new)])
    return job_id


def bulk_commit(web: LocalService, *parts: PartRef) -> None:
    commit(web.redis_url, *parts, lane=Lane.BULK, outcome=SUCCESS)


class Stream:
    """A connection on which the events of a job were requested."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, web: LocalService, job_id: str) -> Stream:
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port, limit=2**24)
        writer.write(f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return cls(reader, writer)

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    async def status(self) -> bytes:
        return (await self.reader.readline()).split()[1]

    async def until(self, text: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(text), 30)

    async def whole(self) -> bytes:
        """The rest of the answer. The connection stays open after it."""
        return await self.until(b"\r\n0\r\n\r\n")


@asynccontextmanager
async def following(web: LocalService, job_ids: list[str]) -> AsyncIterator[list[Stream]]:
    """Open a stream of each job, one after the other."""
    streams = [await Stream.open(web, job_id) for job_id in job_ids]
    try:
        yield streams
    finally:
        for stream in streams:
            await stream.close()


def memory(web: LocalService) -> int:
    """Resident bytes of the web process."""
    statm = Path(f"/proc/{web.web_process()}/statm").read_text()
    return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.long
@pytest.mark.alone
def test_hundreds_of_streams_get_their_events_and_leave_the_process_responsive(
    web: LocalService, jobs: JobRecords
) -> None:
    shared = accept(jobs, PARTS * PART_SIZE)
    own = [accept(jobs, 1) for _ in range(STREAMS // 2)]
    before = memory(web)

    async def work() -> list[float]:
        """End every job, as workers do. Gives the seconds that other requests took meanwhile."""
        waits = []
        async with httpx.AsyncClient(base_url=web.base_url, timeout=30) as http:
            for number in range(PARTS):
                parts = [PartRef(shared, number, PART_SIZE)]
                parts += [PartRef(job_id, 0, 1) for job_id in own[number::PARTS]]
                await asyncio.to_thread(bulk_commit, web, *parts)
                started = time.monotonic()
                assert (await http.get(f"/jobs/{shared}")).is_success
                waits.append(time.monotonic() - started)
        return waits

    async def run() -> tuple[list[float], list[bytes]]:
        async with following(web, [shared] * (STREAMS - len(own)) + own) as streams:
            for stream in streams:
                await stream.until(b"event: progress\n")
            with closing(web.redis()) as redis:
                assert redis.info("clients")["connected_clients"] < 40
            assert memory(web) - before < 30_000_000
            rest = asyncio.gather(*(stream.whole() for stream in streams))
            waits = await work()
            return waits, await rest

    waits, texts = asyncio.run(run())
    ended = time.monotonic()
    assert statistics.median(waits) < 0.25, waits
    for text in texts[: STREAMS - len(own)]:
        assert text.count(b"event: item\n") == PARTS * PART_SIZE
        assert text.count(b"event: end\n") == 1
    assert all(text.count(b"event: item\n") == 1 for text in texts[STREAMS - len(own) :])
    assert time.monotonic() - ended < 5


def test_clients_that_leave_make_room_for_others(web: LocalService, jobs: JobRecords) -> None:
    job_id = accept(jobs, 1)

    async def statuses_of_eleven() -> list[bytes]:
        async with following(web, [job_id] * 11) as more:
            return sorted([await stream.status() for stream in more])

    async def run() -> None:
        async with following(web, [job_id] * (STREAMS - 10)) as streams:
            assert {await stream.status() for stream in streams} == {b"200"}
            assert await statuses_of_eleven() == [b"200"] * 10 + [b"503"]
            async with asyncio.timeout(20):  # web notices soon that the clients have left
                while await statuses_of_eleven() != [b"200"] * 10 + [b"503"]:
                    await asyncio.sleep(0.1)

    asyncio.run(run())
    assert "rror" not in web.log("web")


def test_readers_that_stand_still_take_little_memory(web: LocalService, jobs: JobRecords) -> None:
    job_id = accept(jobs, 10_000, outcome=SUCCESS)
    before = memory(web)

    async def run() -> None:
        # 50 answers of 6 MB each wait to be read. Web holds only a piece of each.
        async with following(web, [job_id] * 50) as streams:
            for stream in streams:
                stream.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.sleep(2)
            assert memory(web) - before < 50_000_000
            assert httpx.get(f"{web.base_url}/livez").is_success

    asyncio.run(run())


def test_a_stream_outlives_an_outage(web: LocalService, jobs: JobRecords) -> None:
    job_id = accept(jobs, 2)

    async def run() -> bytes:
        async with following(web, [job_id]) as [stream]:
            await stream.until(b"event: progress\n")
            web.stop_redis(signal.SIGKILL)
            await asyncio.sleep(0.5)
            web.start_redis()
            bulk_commit(web, PartRef(job_id, 0, 2))
            return await stream.whole()

    text = asyncio.run(run())
    assert text.count(b"event: item\n") == 2 and text.count(b"event: end\n") == 1
