"""Archives through the whole service: labels, other requests meanwhile, memory, and limits."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median

import httpx
import pytest

from shared import keys
from shared.jobs import Lane
from tests.pipeline.jobs import completed
from tests.support.connection import Connection, head
from tests.support.local_service import LocalService, local_service
from tests.support.waiting import wait_until
from tests.web.intake.archive_files import tarred, zipped


def test_pictures_of_an_archive_get_the_labels_that_they_get_alone(
    http: httpx.Client, pictures: list[Path]
) -> None:
    chosen = pictures[:34]
    files = [(f"holiday/{path.name}", path.read_bytes()) for path in chosen]
    files.insert(3, ("holiday/notes", b"hello"))
    job = http.post("/jobs", files={"files": ("holiday.zip", zipped(files))}).json()
    assert completed(http, job["id"])["counts"]["failed"] == 1
    items = http.get(f"/jobs/{job['id']}/results", params={"limit": 100}).json()["items"]
    assert [item["name"] for item in items] == [name for name, _ in files]
    assert items[3]["error"]["code"] == "unsupported_format"
    del items[3]
    for path, item in list(zip(chosen, items, strict=True))[::8]:
        alone = http.post("/api/v1/classify", content=path.read_bytes()).json()
        assert item["predictions"][0] == alone["predictions"][0]


def test_an_archive_whose_client_has_gone_waits_no_longer(
    tmp_path: Path, pictures: list[Path]
) -> None:
    """No worker runs, so the second part would wait for a minute."""
    archive = zipped([(path.name, path.read_bytes()) for path in pictures[:64]])
    own = {"WEB_PROCESSES": "1", "DATA_DIR": str(tmp_path), "MAX_OUTSTANDING_BULK": "40"}
    with local_service(tmp_path, os.environ | own) as web, closing(web.redis()) as redis:
        web.start_web()
        web.await_web()
        url = f"{web.base_url}/api/v1/jobs"
        zip_type = {"Content-Type": "application/zip"}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(url, content=archive, headers=zip_type, timeout=3)
        [job] = redis.keys("job:*")
        assert redis.hget(job, "received") == b"32"
        wait_until(lambda: redis.hget(job, "state") == b"cancelled", 5)
        wait_until(lambda: redis.get(keys.outstanding_images(Lane.BULK)) == b"0", 5)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of 30 MB with 600 MB in it. To unpack it takes a second of processor time."""
    noise = os.urandom(500_000) + bytes(9_500_000)
    path = tmp_path_factory.mktemp("large") / "large.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as out, tarfile.open(
        fileobj=out, mode="w"
    ) as archive:
        for k in range(60):
            info = tarfile.TarInfo(f"{k}.jpg")
            info.size = len(noise)
            archive.addfile(info, io.BytesIO(noise))
    return path


#: The upload runs in a process of its own, so that it does not slow down the watching client.
UPLOAD = """
import sys, httpx
url, kind, path = sys.argv[1:]
with open(path, "rb") as file:
    if kind == "form":
        answer = httpx.post(url, files={"files": file}, timeout=60)
    else:
        answer = httpx.post(url, content=file, headers={"Content-Type": kind}, timeout=60)
print(answer.text)
"""


class Watch:
    """Asks web every few milliseconds while the block runs, and notes web's memory."""

    def __init__(self, service: LocalService) -> None:
        self._service = service
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.seconds: list[float] = []  #: Of each answer.
        self.resident: list[int] = []  #: Bytes.

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        statm = Path(f"/proc/{self._service.web_process()}/statm")
        with httpx.Client(base_url=self._service.base_url, timeout=60) as http:
            while not self._over.wait(0.01):
                started = time.perf_counter()
                assert http.get("/livez").is_success
                self.seconds.append(time.perf_counter() - started)
                pages = int(statm.read_text().split()[1])
                self.resident.append(pages * os.sysconf("SC_PAGE_SIZE"))


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.parametrize("kind", ["form", "application/gzip"])
def test_other_requests_are_answered_while_a_large_archive_is_read(
    service: LocalService, large: Path, kind: str
) -> None:
    command = [sys.executable, "-c", UPLOAD, f"{service.base_url}/jobs", kind, str(large)]
    started = time.monotonic()
    with Watch(service) as watch:
        upload = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.monotonic() - started
    assert json.loads(upload.stdout)["counts"]["failed"] == 60, upload.stdout
    # A share of the time, since a web process that stands still for a second is one slow answer.
    slow = sum(each for each in watch.seconds if each > 0.1)
    assert slow < 0.3 * seconds, sorted(watch.seconds)[-10:]
    assert median(watch.seconds) < 0.1
    assert max(watch.resident) - watch.resident[0] < 100 * 2**20


def test_archives_that_arrive_slowly_refuse_no_other(
    service: LocalService, http: httpx.Client
) -> None:
    unfinished = head("/jobs", 1_000_000, "Content-Type: application/zip") + b"PK"
    archive = zipped([("a", b"hello")])
    with ExitStack() as crowd:
        for _ in range(20):
            crowd.enter_context(Connection(service.base_url, unfinished))
        for _ in range(3):
            kind = {"Content-Type": "application/zip"}
            assert http.post("/jobs", content=archive, headers=kind).status_code == 202
            form = {"files": ("a.tar", tarred([("a", b"hello")]))}
            assert http.post("/jobs", files=form).status_code == 202
