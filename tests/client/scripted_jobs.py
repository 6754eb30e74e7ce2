"""Open jobs on a scripted server, so that a test can put faults between its answers.

A picture is a tabby as soon as its part has arrived. An empty picture, and one that starts with
`bad`, fails.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from client.api.parts import RAW_PART
from tests.client.scripted_server import Answer, Cut, Request, refusal

_VERSION = 200 * "m"
_TABBY: dict[str, Any] = {"class_id": 281, "class_name": "tabby", "probability": 0.5}
MODEL = {"name": "m", "weights": "w", "weights_digest": "d", "engine": "e", "classes": 2} | {
    "input_size": 8
}


@dataclass
class ScriptedJob:
    total: int
    min_score: float = 0
    items: dict[int, dict[str, Any]] = field(default_factory=dict)


class ScriptedJobs:
    """A script for `scripted_server`. A test overrides methods to change answers."""

    def __init__(self) -> None:
        self.jobs: dict[str, ScriptedJob] = {}
        self.digests: list[str] = []  #: Of all pictures that arrived, in order.
        self.ending = threading.Event()  #: While it is not set, no job ends.
        self.ending.set()
        self.raw = True  #: Whether it reads parts that are no forms. Older services do not.
        self.model: str | None = _VERSION  #: Of the service; None while no worker is there.
        self.released = threading.Event()  #: A request that a test holds waits for it.
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Answer | Cut:
        path = request.path.removeprefix("/api/v1").partition("?")[0]
        if not self.ending.is_set():
            time.sleep(0.05)  # as the service, which holds the answer for a while
        with self._lock:
            if path == "/usage":
                return self.usage()
            if path == "/model/info":
                return self.model_info()
            if path == "/jobs":
                return self.open(json.loads(request.body), request.headers["Idempotency-Key"])
            match = re.fullmatch(r"/jobs/([^/]+)(/results|/parts(?:/(\d+))?)?", path)
            assert match, path
            job = self.jobs[match[1]]
            if match[3]:
                return self.put(job, int(match[3]), request.body)
            if match[2] == "/results":
                return self.results(match[1], job, request)
            if match[2] == "/parts":
                parts = -(-job.total // 32)
                missing = [n for n in range(parts) if 32 * n not in job.items]
                return Answer(200, {"total": parts, "missing": missing})
            return Answer(200, self.status(match[1], job))

    def usage(self) -> Answer:
        numbers = dict.fromkeys(["bytes_held", "bytes_kept", "images_today", "day_ends_at"], 0)
        return Answer(
            200, numbers | {"client": "key alice", "outstanding_images": {}, "limits": {}}
        )

    def model_info(self) -> Answer:
        if self.model is None:
            return refusal(503, "model_not_ready")
        return Answer(200, MODEL | {"version": self.model})

    def hold(self) -> None:
        """Keep the present request waiting, and answer others meanwhile."""
        self._lock.release()
        self.released.wait(60)
        self._lock.acquire()

    def open(self, body: dict[str, Any], key: str) -> Answer | Cut:
        job = self.jobs.setdefault(key, ScriptedJob(body["total"], body.get("min_score", 0)))
        opened = {"job": self.status(key, job), "part_size": 32, "known": []}
        if self.raw:
            opened["part_types"] = [RAW_PART, "multipart/form-data"]
        return Answer(201, opened)

    def put(self, job: ScriptedJob, number: int, body: bytes) -> Answer | Cut:
        for position, data in enumerate(pictures_of(body)):
            self.digests.append(hashlib.sha256(data).hexdigest())
            job.items[32 * number + position] = _item(data, self.model or _VERSION)
        return Answer(201, {})

    def status(self, job_id: str, job: ScriptedJob) -> dict[str, Any]:
        failed = sum(item["state"] == "failed" for item in job.items.values())
        counts = {"total": job.total, "failed": failed, "succeeded": len(job.items) - failed}
        counts["queued"] = job.total - len(job.items)
        ended = len(job.items) == job.total and self.ending.is_set()
        times = dict.fromkeys(["started_at", "finished_at"]) | {"created_at": 0, "expires_at": 0}
        same = {"id": job_id, "lane": "bulk", "top_k": 1, "model_version": None}
        return {"state": "completed" if ended else "receiving", "counts": counts, **times, **same}

    def results(self, job_id: str, job: ScriptedJob, request: Request) -> Answer | Cut:
        [offset] = re.findall(r"offset=(\d+)", request.path)
        start, stop = int(offset), min(int(offset) + 1000, job.total)
        waiting = {"name": "", "state": "queued"}
        items = [{"index": k, **job.items.get(k, waiting)} for k in range(start, stop)]
        for item in items:
            below = item["state"] == "succeeded" and job.min_score > _TABBY["probability"]
            item["below_threshold"] = below
        return Answer(200, {"items": items, "next_offset": stop if stop < job.total else None})


def pictures_of(body: bytes) -> list[bytes]:
    """The pictures of a part, which is a form or not."""
    if not body.startswith(b"--"):
        line, _, rest = body.partition(b"\n")
        file = io.BytesIO(rest)
        return [file.read(entry["size"]) for entry in json.loads(line)]
    boundary = body[: body.index(b"\r\n")]
    pieces = body.split(boundary)[2:-1]
    return [piece.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for piece in pieces]


def _item(data: bytes, version: str) -> dict[str, Any]:
    if not data or data.startswith(b"bad"):
        error = {"code": "empty_file", "message": "The file is empty."}
        return {"name": "", "state": "failed", "error": error}
    return {"name": "", "state": "succeeded", "predictions": [_TABBY], "model_version": version}
