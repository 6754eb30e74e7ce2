"""The calls of the API, as steps: see `steps`."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast
from urllib.parse import quote

from .. import errors
from ..errors import NotFinished
from ..regular_file import RegularFile
from ..text import path_text
from .transport.body import PictureFile
from .transport.connection import Requests, file_field
from .events import EventLines
from .parts import (
    CONCURRENCY,
    OpenJob,
    Picture,
    missing_parts,
    open_job,
    part_count,
    part_range,
    parts_at_once,
    put_part,
)
from .pictures import MOST_BYTES, Source, is_path, read, several, too_large
from .records import Classification, DeadLetter, Item, JobStatus, ModelInfo, Usage
from .results import job_path, some_results
from .types import checked
from .transport.steps import Emit, Pause, ReadLine, Steps, Together, Work, work

#: The longest time that one request waits for a job. Proxies allow more.
HOLD_SECONDS = 30.0

#: Jobs in one answer.
_JOBS_PAGE = 100


def classify(
    connection: Requests,
    picture: Source,
    *,
    top_k: int,
    min_score: float,
    embeddings: bool,
    timeout: float,
) -> Steps[Classification]:
    give_up = time.monotonic() + timeout
    name, data = yield Work(partial(read, picture))
    response = yield from connection.request(
        "POST",
        "/classify",
        params={
            "top_k": top_k,
            "min_score": min_score or None,  # services of earlier releases refuse it
            "embeddings": embeddings or None,
            "wait": min(timeout, HOLD_SECONDS),
        },
        form=[file_field("file", name, data)],
    )
    if response.status_code == 200:
        return Classification.of(response.json())
    job_id = JobStatus.of(response.json()).id
    try:
        yield from wait(connection, job_id, max(0.0, give_up - time.monotonic()))
    except NotFinished as late:
        raise NotFinished(job_id, timeout) from late
    [item] = yield from some_results(connection, job_id, 0, 1, embeddings=embeddings)
    return _classification(job_id, item)


def submit(
    connection: Requests,
    pictures: Iterable[Source],
    *,
    top_k: int,
    min_score: float,
    embeddings: bool,
    lane: str | None,
    custom_ids: Sequence[str] | None,
    webhook: str | None,
    idempotency_key: str | None,
) -> Steps[str]:
    """Gives the id of the job."""
    hashing = [work(partial(_picture, picture)) for picture in several(pictures)]
    items: list[Picture] = yield Together(hashing, CONCURRENCY)
    if custom_ids is not None:
        pairs = zip(items, custom_ids, strict=True)
        items = [replace(item, custom_id=custom_id) for item, custom_id in pairs]
    job: OpenJob = yield from open_job(
        connection,
        [item.digest for item in items],
        top_k=top_k,
        min_score=min_score,
        embeddings=embeddings,
        lane=lane,
        webhook=webhook,
        idempotency_key=idempotency_key,
    )
    numbers: Sequence[int] = range(part_count(len(items)))
    if idempotency_key:  # an earlier call may have sent some of them
        numbers = yield from missing_parts(connection, job)
    parts = {number: [items[k] for k in part_range(number, len(items))] for number in numbers}
    sending = [
        put_part(connection, job, number, part, by_digest=job.cached)
        for number, part in parts.items()
    ]
    yield Together(sending, parts_at_once(parts.values()))
    return job.job_id


def status(connection: Requests, job_id: str, *, wait: float | None = None) -> Steps[JobStatus]:
    response = yield from connection.request("GET", job_path(job_id), params={"wait": wait})
    return JobStatus.of(response.json())


def wait(connection: Requests, job_id: str, timeout: float | None) -> Steps[JobStatus]:
    give_up = None if timeout is None else time.monotonic() + timeout
    while True:
        left = HOLD_SECONDS if give_up is None else max(0.0, give_up - time.monotonic())
        present = yield from status(connection, job_id, wait=min(left, HOLD_SECONDS))
        if present.ended:
            return present
        if give_up is not None and timeout is not None and time.monotonic() >= give_up:
            raise NotFinished(job_id, timeout)


def follow(connection: Requests, job_id: str, *, items: bool) -> Steps[None]:
    """Emits each JobEvent. A connection that breaks is opened again after the last event."""
    lines = EventLines()
    while True:
        headers = {"Last-Event-ID": lines.last_id} if lines.last_id else {}
        stream = yield from connection.stream(
            f"{job_path(job_id)}/events", params={"items": items}, headers=headers
        )
        while (line := (yield ReadLine(stream))) is not None:
            event = lines.feed(line)
            if event:
                yield Emit(event)
                if event.kind == "end":
                    return
        lines.begin_again()
        yield Pause(lines.retry_seconds)


def cancel(connection: Requests, job_id: str) -> Steps[JobStatus]:
    response = yield from connection.request("DELETE", job_path(job_id))
    return JobStatus.of(response.json())


def jobs(connection: Requests) -> Steps[None]:
    """Emits the JobStatus of each job, the newest first."""
    before: str | None = None
    while True:
        params = {"limit": _JOBS_PAGE, "before": before}
        response = yield from connection.request("GET", "/jobs", params=params)
        page = response.json()
        for each in page["jobs"]:
            yield Emit(JobStatus.of(each))
        if page["next_before"] is None:
            return
        if page["next_before"] == before:
            raise ValueError(f"next_before: {before}")
        before = checked(str, page["next_before"])


def check(connection: Requests) -> Steps[None]:
    yield from connection.request("GET", "/health")


def model_info(connection: Requests) -> Steps[ModelInfo]:
    response = yield from connection.request("GET", "/model/info")
    return ModelInfo.of(response.json())


def labels(connection: Requests) -> Steps[list[str]]:
    response = yield from connection.request("GET", "/model/labels")
    return [checked(str, each["name"]) for each in response.json()["labels"]]


def usage(connection: Requests) -> Steps[Usage]:
    response = yield from connection.request("GET", "/usage")
    return Usage.of(response.json())


def dead_letters(connection: Requests) -> Steps[list[DeadLetter]]:
    response = yield from connection.request("GET", "/dead-letters")
    return [DeadLetter.of(each) for each in response.json()["dead_letters"]]


def retry_dead_letter(connection: Requests, letter_id: str) -> Steps[str]:
    """Gives the id of the job."""
    path = f"/dead-letters/{quote(letter_id, safe=':')}/retry"
    response = yield from connection.request("POST", path)
    return JobStatus.of(response.json()).id


def _picture(source: Source) -> Picture:
    if not is_path(source):
        name, data = read(source)
        digest = hashlib.sha256(data).hexdigest()
        return Picture(name=name, digest=digest, size=len(data), content=partial(bytes, data))
    path = Path(cast(str, source))
    with RegularFile(path) as file:
        if os.fstat(file.fileno()).st_size > MOST_BYTES:
            raise too_large(path)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    content = partial(PictureFile, path)
    return Picture(name=path_text(path.name), digest=digest, size=size, content=content)


def _classification(job_id: str, item: Item) -> Classification:
    if item.error:
        raise errors.failure(item.error.code, item.error.message, job_id=job_id)
    return Classification(
        job_id=job_id,
        name=item.name,
        predictions=item.predictions,
        model_version=item.model_version,
        cache_hit=item.cache_hit,
        durations=item.durations,
        below_threshold=item.below_threshold,
        labels=item.labels,
        embedding=item.embedding,
    )
