"""The service from Python: one picture and its labels, or many as a job."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from . import settings
from .. import errors
from .connection import Connection, Notice
from ..errors import NotFinished
from .job import HOLD_SECONDS, Job
from .multipart import Form
from .names import shown
from .parts import Picture, open_job, part_count, part_range, put_part
from .records import Classification, DeadLetter, JobStatus, ModelInfo
from .retries import Retries

#: A file by its path, or a picture's bytes.
Source = str | os.PathLike[str] | bytes

#: Parts that are uploaded side by side.
CONCURRENCY = 4


def _silent(error: errors.ImageClassifierError, pause: float) -> None:
    """Trying again is no news, unless somebody asks."""


class ImageClassifier:
    """One service. Threads may share it; close it, or use it as a context.

    `base_url` and `api_key` come from IMAGE_CLASSIFIER_URL and IMAGE_CLASSIFIER_API_KEY unless
    given. Calls raise the exceptions of `image_classifier.errors`, and OSError for files.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        retries: Retries = Retries(),
        on_retry: Notice = _silent,
    ) -> None:
        self.connection = Connection(
            base_url or settings.url(),
            api_key or settings.api_key(),
            retries=retries,
            on_retry=on_retry,
        )

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def classify(self, picture: Source, *, top_k: int = 5, timeout: float = 120) -> Classification:
        """The labels of one picture, best first.

        Raises PictureRefused where it is no good, and NotFinished after `timeout` seconds; its
        `job_id` then tells where the answer will be.
        """
        give_up = time.monotonic() + timeout
        name, data = _read(picture)
        response = self.connection.call(
            "POST",
            "/classify",
            params={"top_k": top_k, "wait": min(timeout, HOLD_SECONDS)},
            form=Form([("file", name, data)]),
        )
        if response.status_code == 200:
            return Classification.of(response.json())
        job = self.job(JobStatus.of(response.json()).id)
        try:
            job.wait(max(0.0, give_up - time.monotonic()))
        except NotFinished as late:
            raise NotFinished(job.id, timeout) from late
        return _classification(job)

    def submit(
        self,
        pictures: Iterable[Source],
        *,
        top_k: int = 5,
        lane: str | None = None,
        custom_ids: Sequence[str] | None = None,
        webhook: str | None = None,
    ) -> Job:
        """Upload pictures as one job; what the service knows already is not sent.

        Returns once all are accepted: from then on none is lost. A bad picture is an item with
        an error. For a folder that is larger than memory or patience there is the command
        `image-classifier upload`.
        """
        with ThreadPoolExecutor(CONCURRENCY) as threads:
            offered = list(threads.map(_picture, pictures))
            if custom_ids is not None:
                offered = [
                    Picture(name=each.name, digest=each.digest, read=each.read, custom_id=own)
                    for each, own in zip(offered, custom_ids, strict=True)
                ]
            digests = [each.digest for each in offered]
            opened = open_job(self.connection, digests, top_k=top_k, lane=lane, webhook=webhook)

            def send(number: int) -> None:
                part = part_range(number, len(offered))
                here = offered[part.start : part.stop]
                put_part(self.connection, opened, number, here, by_digest=opened.known)

            for _ in threads.map(send, range(part_count(len(offered)))):
                pass  # to raise what a thread raised
        return self.job(opened.job_id)

    def job(self, job_id: str) -> Job:
        """A job by its id; nothing is asked yet."""
        return Job(self.connection, job_id)

    def check(self) -> None:
        """Return where the service answers. Raises NoAnswer and Refused."""
        self.connection.call("GET", "/health")

    def model_info(self) -> ModelInfo:
        """Raises ModelNotReady while no worker has announced a model."""
        return ModelInfo.of(self.connection.call("GET", "/model/info").json())

    def dead_letters(self) -> list[DeadLetter]:
        """The pictures that every worker died on, oldest first."""
        answer = self.connection.call("GET", "/dead-letters").json()
        return [DeadLetter.of(each) for each in answer["dead_letters"]]

    def retry_dead_letter(self, letter_id: str) -> Job:
        """Try its picture once more, alone. Raises DeadLetterNotFound."""
        answer = self.connection.call(
            "POST", f"/dead-letters/{quote(letter_id, safe=':')}/retry"
        ).json()
        return self.job(JobStatus.of(answer).id)


def _read(picture: Source) -> tuple[str, bytes]:
    if isinstance(picture, bytes):
        return "picture", picture
    path = Path(picture)
    return shown(path.name), path.read_bytes()


def _picture(source: Source) -> Picture:
    if isinstance(source, bytes):
        digest = hashlib.sha256(source).hexdigest()
        return Picture(name="picture", digest=digest, read=partial(bytes, source))
    path = Path(source)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Picture(name=shown(path.name), digest=digest, read=path.read_bytes)


def _classification(job: Job) -> Classification:
    [item] = job.results()
    if item.error:
        raise errors.failure(item.error.code, item.error.message, job_id=job.id)
    return Classification(
        job_id=job.id,
        name=item.name,
        predictions=item.predictions,
        model_version=item.model_version,
        cache_hit=item.cache_hit,
        durations=item.durations,
    )
