"""The memory of each process is bounded in bytes, however large the pictures are."""

from __future__ import annotations

import asyncio
import csv
import io
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from loadtest.measure.photos import make_photo
from shared.jobs import PART_SIZE, Lane
from tests.pipeline.jobs import completed
from tests.support.local_service import LocalService, local_service

pytestmark = pytest.mark.long

MEGABYTE = 2**20
_PIECE = 2**18


@pytest.fixture
def own(tmp_path: Path, model_environment: dict[str, str]) -> Iterator[LocalService]:
    """A service of one web process. A test that needs a worker starts one."""
    environment = model_environment | {"WEB_PROCESSES": "1", "WORKER_PROCESSES": "1"}
    with local_service(tmp_path, environment) as service:
        service.start_web()
        service.await_web()
        yield service


def start_worker(service: LocalService) -> dict[str, int]:
    """Start the worker of the bulk lane; gives the ids of its pool processes.

    One of them is for pictures that are slow to decode.
    """
    service.start_worker(Lane.BULK)
    service.await_ready()
    one, other = service.pool_processes(Lane.BULK)
    return {"pool": one, "other": other}


@pytest.fixture(scope="module")
def photo(pictures: list[Path]) -> bytes:
    return make_photo(pictures[0].read_bytes(), 1)


def growth(processes: Mapping[str, int], before: Mapping[str, float]) -> dict[str, float]:
    """By how many megabytes the peak of each process is above its size `before`."""
    return {name: status(pid, "VmHWM") - before[name] for name, pid in processes.items()}


def sizes(processes: Mapping[str, int]) -> dict[str, float]:
    """The megabytes of each process. Their peaks begin here."""
    for pid in processes.values():
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    return {name: status(pid, "VmRSS") for name, pid in processes.items()}


def status(pid: int, field: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [line] = [each for each in lines if each.startswith(field)]
    return int(line.split()[1]) / 1024


def test_a_micro_batch_of_the_largest_pictures_is_never_in_memory_whole(
    own: LocalService, pictures: list[Path]
) -> None:
    """32 pictures of 20 MB have 640 MB. Neither web nor a pool process holds them together."""
    pool = start_worker(own)
    processes = {"web": own.web_process(), **pool, "main": own.processes["bulk"].pid}
    size = 20 * MEGABYTE
    with httpx.Client(base_url=own.base_url, timeout=120, trust_env=False) as http:
        # The engine takes its own memory in the first micro-batch.
        small = [("files", (path.name, path.read_bytes())) for path in pictures[:PART_SIZE]]
        completed(http, http.post("/jobs?lane=bulk", files=small).json()["id"])
        job_id = http.post("/jobs", json={"total": PART_SIZE, "top_k": 1}).json()["job"]["id"]
        before = sizes(processes)
        files = [
            ("files", ("photo.jpg", io.BytesIO(path.read_bytes().ljust(size, b"\0"))))
            for path in pictures[:PART_SIZE]
        ]
        put = http.put(f"/jobs/{job_id}/parts/0", files=files)
        assert put.status_code == 201, put.text
        assert completed(http, job_id)["counts"]["succeeded"] == PART_SIZE
    grown = growth(processes, before)
    print(grown)
    assert grown["web"] < 120 and grown["main"] < 30
    assert max(grown[name] for name in pool) < 120


def test_1000_photos_at_once_do_not_fill_a_web_process(own: LocalService, photo: bytes) -> None:
    length = {"Content-Length": str(len(photo) + 4)}

    async def body(number: int) -> AsyncIterator[bytes]:
        """In pieces, because a thousand whole bodies would fill the memory of the tests."""
        for start in range(0, len(photo), _PIECE):
            yield photo[start : start + _PIECE]
        yield b"%04d" % number

    async def send(client: httpx.AsyncClient, number: int) -> int:
        sent = await client.post("/api/v1/classify?wait=0", content=body(number), headers=length)
        return sent.status_code

    async def crowd() -> Counter[int]:
        limits = httpx.Limits(max_connections=1000)
        async with httpx.AsyncClient(
            base_url=own.base_url, timeout=120, trust_env=False, limits=limits
        ) as client:
            return Counter(await asyncio.gather(*(send(client, k) for k in range(1000))))

    web = {"web": own.web_process()}
    before = sizes(web)
    statuses = asyncio.run(crowd())
    grown = growth(web, before)
    print(statuses, grown)
    # Above its share a client gets 429. Where too much of a body is in memory, it gets 503. A busy
    # client that sends no 64 KiB within ten seconds gets 408.
    assert statuses.keys() <= {202, 408, 429, 503} and statuses[202] > 0, statuses
    # One client gets half of MAX_BODY_MEMORY_BYTES. It may be there twice, for copies of bodies.
    assert grown["web"] < 256


def test_the_command_needs_little_memory_for_a_folder_of_photos(
    own: LocalService, photo: bytes, tmp_path: Path
) -> None:
    folder = tmp_path / "camera"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number}.jpg").write_bytes(photo + b"%d" % number)
    program = (
        "import sys; from client.cli.command import main; status = main();"
        "print([x for x in open('/proc/self/status') if 'VmHWM' in x][0].split()[1]);"
        "sys.exit(status)"
    )
    table = tmp_path / "labels.csv"
    command = [sys.executable, "-c", program, "upload", str(folder), "--output", str(table)]
    pool = start_worker(own)
    processes = {"web": own.web_process(), **pool}
    before = sizes(processes)
    done = subprocess.run(
        [*command, "--url", own.base_url], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with table.open(newline="") as rows:
        assert len({row["label"] for row in csv.DictReader(rows)}) == 1
    client = int(done.stdout.splitlines()[-1]) / 1024
    grown = growth(processes, before)
    print(client, grown)
    assert client < 300 and grown["web"] < 200
    assert max(grown[name] for name in pool) < 120
