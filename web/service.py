"""What the routes work with: the stores, the way to the workers, and the current model."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from flask import current_app
from redis import Redis

from shared import log, metrics, model_info
from shared.errors import ClassifierError, JobNotFound, ModelNotReady
from shared.job_store import JobStore
from shared.jobs import PART_SIZE, Job, Lane, NewItem, NewJob, Outcome
from shared.model_info import ModelInfo
from shared.recovery import Recovery
from shared.result_cache import ResultCache
from shared.settings import Settings
from web import auth, uploads
from web.admission import Admission
from web.coalescer import Coalescer
from web.commit_listener import CommitListener
from web.uploads import Upload

logger = logging.getLogger(__name__)

#: A new model version is noticed after this; asking at each request would cost a round trip.
_MODEL_SECONDS = 1.0


class Service:
    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        jobs: JobStore,
        cache: ResultCache,
    ) -> None:
        self.settings = settings
        self.redis = redis
        self.jobs = jobs
        self.recovery = Recovery(
            redis,
            jobs,
            deadline_seconds=settings.part_deadline_seconds,
            ttl=settings.result_ttl_seconds,
        )
        self._cache = cache
        self.admission = Admission(
            redis,
            jobs,
            max_images={
                Lane.INTERACTIVE: settings.max_outstanding_interactive,
                Lane.BULK: settings.max_outstanding_bulk,
            },
            max_bytes=settings.max_bytes_held,
        )
        self._coalescer = Coalescer(
            self.admission.accept, max_unfinished=settings.max_unfinished_messages
        )
        self.commits = CommitListener(
            redis, self._coalescer.on_commit, on_outage=self._coalescer.on_outage
        )
        self._model: ModelInfo | None = None
        self._model_read_at = 0.0

    def close(self) -> None:
        self.commits.close()
        self.redis.connection_pool.disconnect()

    def model(self) -> ModelInfo:
        """What the workers have loaded. Raises ModelNotReady."""
        if time.monotonic() - self._model_read_at > _MODEL_SECONDS:
            self._model = model_info.read(self.redis)
            self._model_read_at = time.monotonic()
        if self._model is None:
            raise ModelNotReady
        return self._model

    def job(self, job_id: str) -> Job:
        """A job of whoever asks. Raises JobNotFound, for another's too: not even that it exists."""
        log.note(job_id=job_id)
        job = self.jobs.get(job_id)
        if job.owner != auth.owner():
            raise JobNotFound
        return job

    def submit(
        self,
        job_id: str,
        files: Sequence[Upload],
        *,
        lane: Lane,
        top_k: int,
        custom_ids: Sequence[str] = (),
    ) -> list[Outcome | None]:
        """Accept a job: stored and queued. Gives the outcomes that are known at once.

        A bad file becomes its item's error; its neighbours are not touched. Raises Overloaded
        where there is no room, and then keeps nothing.
        """
        log.note(job_id=job_id)
        outcomes = self._known_outcomes(files, top_k)
        names: Sequence[str | None] = custom_ids or [None] * len(files)
        items = [
            NewItem(
                name=file.name,
                digest=file.digest,
                data=file.data,
                custom_id=custom_id,
                outcome=outcome,
            )
            for file, custom_id, outcome in zip(files, names, outcomes, strict=True)
        ]
        job = NewJob(id=job_id, lane=lane, top_k=top_k, items=items, owner=auth.owner())
        size = sum(len(item.data) for item in items if item.outcome is None)
        with self.admission.room(lane, images=job.pending, size=size):
            if lane is Lane.INTERACTIVE and 0 < job.pending <= PART_SIZE >= len(items):
                self._coalescer.submit(job)
            else:
                self.admission.accept([job])
        metrics.IMAGES_ACCEPTED.labels(lane).inc(len(items))
        return outcomes

    def _known_outcomes(self, files: Sequence[Upload], top_k: int) -> list[Outcome | None]:
        """For each file: an error, an answer from the cache, or None where a worker must look."""
        outcomes = [self._refusal(file) for file in files]
        asked = [k for k, outcome in enumerate(outcomes) if outcome is None]
        for k, cached in zip(asked, self._from_cache([files[k] for k in asked]), strict=True):
            metrics.CACHE_REQUESTS.labels("hit" if cached else "miss").inc()
            if cached:
                outcomes[k] = replace(cached, predictions=cached.predictions[:top_k])
        return outcomes

    def _refusal(self, file: Upload) -> Outcome | None:
        try:
            uploads.check(file.data, max_bytes=self.settings.max_image_bytes)
        except ClassifierError as error:
            return Outcome.failure(error)
        return None

    def _from_cache(self, files: Sequence[Upload]) -> list[Outcome | None]:
        try:
            version = self.model().version
        except ModelNotReady:  # the picture waits for the first worker, as it may
            return [None] * len(files)
        return self._cache.get(version, [file.digest for file in files])


def service() -> Service:
    """The service of the current application."""
    found: Service = current_app.extensions["service"]
    return found
