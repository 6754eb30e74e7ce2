"""The service from Python: classify one picture, or submit many as a job."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, cast
from urllib.parse import quote

from .. import errors
from ..errors import NotFinished
from ..text import path_text
from . import settings
from .connection import Connection, OnRetry, file_field
from .job import HOLD_SECONDS, Job
from .parts import Picture, missing_parts, open_job, part_count, part_range, put_part
from .pictures import Source, is_path, read
from .records import Classification, DeadLetter, JobStatus, ModelInfo
from .retries import Retries

#: Parts that are sent at the same time.
CONCURRENCY = 4


class ImageClassifier:
    """One service. Threads may share it. Close it, or use it in a `with` statement.

    The defaults of `base_url` and `api_key` are the environment variables IMAGE_CLASSIFIER_URL
    and IMAGE_CLASSIFIER_API_KEY. Calls raise the exceptions of `image_classifier.errors`, and
    OSError if a file cannot be read. `on_retry(error, seconds)` is called before each retry.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        retries: Retries = Retries(),
        on_retry: OnRetry = lambda error, pause: None,
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
        """The `top_k` most probable labels of one picture.

        Raises PictureRefused if the picture cannot be classified. Raises NotFinished after
        `timeout` seconds; its `job_id` names the job that will have the answer.
        """
        give_up = time.monotonic() + timeout
        name, data = read(picture)
        response = self.connection.call(
            "POST",
            "/classify",
            params={"top_k": top_k, "wait": min(timeout, HOLD_SECONDS)},
            form=[file_field("file", name, data)],
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
        idempotency_key: str | None = None,
    ) -> Job:
        """Upload pictures as one job. Pictures that the service has cached are not sent.

        A program that is started again can give the same `idempotency_key` with the same pictures
        and options. It gets the same job, and sends only what is missing.

        Returns when the service has accepted all pictures; from then on none can be lost. A
        picture that cannot be classified becomes an item with an error. Use the command
        `image-classifier upload` for a very large folder: it can resume.
        """
        with ThreadPoolExecutor(CONCURRENCY) as threads:
            items = list(threads.map(_picture, pictures))
            if custom_ids is not None:
                pairs = zip(items, custom_ids, strict=True)
                items = [replace(item, custom_id=custom_id) for item, custom_id in pairs]
            digests = [item.digest for item in items]
            job = open_job(
                self.connection,
                digests,
                top_k=top_k,
                lane=lane,
                webhook=webhook,
                idempotency_key=idempotency_key,
            )
            parts: Sequence[int] = range(part_count(len(items)))
            if idempotency_key:
                parts = missing_parts(self.connection, job)

            def send(number: int) -> None:
                part = part_range(number, len(items))
                pictures_of_part = items[part.start : part.stop]
                put_part(self.connection, job, number, pictures_of_part, by_digest=job.cached)

            for _ in threads.map(send, parts):
                pass  # raises the exception of a thread
        return self.job(job.job_id)

    def job(self, job_id: str) -> Job:
        """A job by its id. Sends no request."""
        return Job(self.connection, job_id)

    def check(self) -> None:
        """Return if the service answers. Raises NoAnswer and Refused."""
        self.connection.call("GET", "/health")

    def model_info(self) -> ModelInfo:
        """The model that classifies. Raises ModelNotReady until a worker has loaded one."""
        return ModelInfo.of(self.connection.call("GET", "/model/info").json())

    def dead_letters(self) -> list[DeadLetter]:
        """The pictures that made every worker die, oldest first."""
        answer = self.connection.call("GET", "/dead-letters").json()
        return [DeadLetter.of(each) for each in answer["dead_letters"]]

    def retry_dead_letter(self, letter_id: str) -> Job:
        """Classify a dead letter's picture once more, alone. Raises DeadLetterNotFound."""
        answer = self.connection.call(
            "POST", f"/dead-letters/{quote(letter_id, safe=':')}/retry"
        ).json()
        return self.job(JobStatus.of(answer).id)


def _picture(source: Source) -> Picture:
    if not is_path(source):
        name, data = read(source)
        digest = hashlib.sha256(data).hexdigest()
        return Picture(name=name, digest=digest, read=partial(bytes, data))
    path = Path(cast(str, source))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Picture(name=path_text(path.name), digest=digest, read=path.read_bytes)


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
