"""Archives through the whole service: labels, others' requests meanwhile, memory, crowds."""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import httpx
import pytest

from tests.support.local_service import LocalService
from tests.web.intake.archive_files import tarred, zipped

#: As web/intake/archives/uploads.py has it.
AT_ONCE = 4


def test_pictures_of_an_archive_get_the_labels_that_they_get_alone(
    http: httpx.Client, pictures: list[Path]
) -> None:
    chosen = pictures[:34]
    files = [(f"holiday/{path.name}", path.read_bytes()) for path in chosen]
    files.insert(3, ("holiday/notes.txt", b"hello"))
    job = http.post("/jobs", files={"files": ("holiday.zip", zipped(files))}).json()
    done = http.get(f"/jobs/{job['id']}", params={"wait": 50}).json()
    assert done["state"] == "completed" and done["counts"]["failed"] == 1
    items = http.get(f"/jobs/{job['id']}/results", params={"limit": 100}).json()["items"]
    assert [item["name"] for item in items] == [name for name, _ in files]
    assert items[3]["error"]["code"] == "unsupported_format"
    del items[3]
    for path, item in list(zip(chosen, items, strict=True))[::8]:
        alone = http.post("/api/v1/classify", content=path.read_bytes()).json()
        assert item["predictions"][0] == alone["predictions"][0]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six hundred megabytes in thirty: a second of work to unpack, twice."""
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


#: In a process of its own: it must not hold up who watches.
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
    """Looks at the service every few milliseconds while the block runs."""

    def __init__(self, service: LocalService) -> None:
        self._service = service
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.seconds: list[float] = []
        self.resident: list[int] = []

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        main = self._service.processes["web"].pid
        [worker] = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        with httpx.Client(base_url=self._service.base_url, timeout=60) as http:
            while not self._over.wait(0.01):
                started = time.perf_counter()
                assert http.get("/livez").is_success
                self.seconds.append(time.perf_counter() - started)
                fields = Path(f"/proc/{worker}/statm").read_text().split()
                self.resident.append(int(fields[1]) * os.sysconf("SC_PAGE_SIZE"))


@pytest.mark.parametrize("kind", ["form", "application/gzip"])
def test_others_are_answered_while_a_large_archive_is_read(
    service: LocalService, large: Path, kind: str
) -> None:
    command = [sys.executable, "-c", UPLOAD, f"{service.base_url}/jobs", kind, str(large)]
    with Watch(service) as watch:
        upload = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(upload.stdout)["counts"]["failed"] == 60, upload.stdout
    # A share of the time, not of the answers: one that stands still for a second is one answer.
    slow = sum(each for each in watch.seconds if each > 0.1)
    assert slow < 0.3 * sum(watch.seconds), sorted(watch.seconds)[-10:]
    assert median(watch.seconds) < 0.1
    assert max(watch.resident) - watch.resident[0] < 100 * 2**20


def test_one_archive_too_many_is_refused_before_it_is_sent(
    service: LocalService, http: httpx.Client
) -> None:
    port = int(service.base_url.rpartition(":")[2])
    head = b"POST /jobs HTTP/1.1\r\nHost: test\r\nContent-Type: application/zip\r\n"
    archive = zipped([("a", b"hello")])
    with ExitStack() as crowd:
        for _ in range(AT_ONCE):
            client = socket.create_connection(("127.0.0.1", port))
            crowd.enter_context(client)
            client.sendall(head + b"Content-Length: 1000000\r\n\r\nPK")
        time.sleep(0.5)
        answer = http.post("/jobs", content=archive, headers={"Content-Type": "application/zip"})
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        assert "Retry-After" in answer.headers
        # Forms of pictures go on as ever.
        form = {"files": ("a.tar", tarred([("a", b"hello")]))}
        assert http.post("/jobs", files=form).status_code == 202
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        answer = http.post("/jobs", content=archive, headers={"Content-Type": "application/zip"})
        if answer.status_code == 202:
            return
        time.sleep(0.1)
    raise AssertionError("a place that a client has left stays taken")
