"""The service from Python: classify one picture, or submit many as a job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

from . import calls, settings
from .parts import CONCURRENCY
from .transport.connection import Connection, OnRetry
from .job import Job
from .pictures import Source
from .records import Classification, DeadLetter, JobStatus, ModelInfo, Usage
from .transport.retries import Retries

__all__ = ["CONCURRENCY", "ImageClassifier", "Source"]


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

    def classify(
        self,
        picture: Source,
        *,
        top_k: int = 5,
        min_score: float = 0,
        embeddings: bool = False,
        timeout: float = 120,
    ) -> Classification:
        """The `top_k` most probable labels of one picture.

        `picture` is a path, bytes, a file that is open in binary mode, or an image of Pillow.
        If the best label has a lower probability than `min_score` (0 to 1), `label` is empty and
        `below_threshold` is true. With `embeddings`, the answer has numbers that are close for
        similar pictures; Refused says if the model gives none.
        Raises PictureRefused if the picture cannot be classified. Raises NotFinished after
        `timeout` seconds; its `job_id` names the job that will have the answer.
        """
        steps = calls.classify(
            self.connection,
            picture,
            top_k=top_k,
            min_score=min_score,
            embeddings=embeddings,
            timeout=timeout,
        )
        return self.connection.run(steps)

    def submit(
        self,
        pictures: Iterable[Source],
        *,
        top_k: int = 5,
        min_score: float = 0,
        embeddings: bool = False,
        lane: str | None = None,
        custom_ids: Sequence[str] | None = None,
        webhook: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Upload pictures as one job. Pictures that the service has cached are not sent.

        Returns when the service has accepted all pictures; from then on none can be lost. A
        picture that cannot be classified becomes an item with an error. Use the command
        `image-classifier upload` for a very large folder: it can resume.

        A program that is started again can give the same `idempotency_key` with the same pictures
        and options. It gets the same job, and sends only what is missing. A key has at most 255
        visible ASCII characters.
        """
        steps = calls.submit(
            self.connection,
            pictures,
            top_k=top_k,
            min_score=min_score,
            embeddings=embeddings,
            lane=lane,
            custom_ids=custom_ids,
            webhook=webhook,
            idempotency_key=idempotency_key,
        )
        return self.job(self.connection.run(steps))

    def job(self, job_id: str) -> Job:
        """A job by its id. Sends no request."""
        return Job(self.connection, job_id)

    def jobs(self) -> Iterator[JobStatus]:
        """Your jobs, the newest first. Single pictures are not among them."""
        return self.connection.iterate(calls.jobs(self.connection))

    def check(self) -> None:
        """Return if the service answers. Raises NoAnswer and Refused."""
        self.connection.run(calls.check(self.connection))

    def model_info(self) -> ModelInfo:
        """The model that classifies. Raises ModelNotReady until a worker has loaded one."""
        return self.connection.run(calls.model_info(self.connection))

    def labels(self) -> list[str]:
        """All labels of the model, by class id. Raises ModelNotReady as `model_info` does."""
        return self.connection.run(calls.labels(self.connection))

    def usage(self) -> Usage:
        """What your client has outstanding, and the limits of your API key."""
        return self.connection.run(calls.usage(self.connection))

    def dead_letters(self) -> list[DeadLetter]:
        """The pictures that made every worker die, oldest first."""
        return self.connection.run(calls.dead_letters(self.connection))

    def retry_dead_letter(self, letter_id: str) -> Job:
        """Classify a dead letter's picture once more, alone. Raises DeadLetterNotFound."""
        return self.job(self.connection.run(calls.retry_dead_letter(self.connection, letter_id)))
