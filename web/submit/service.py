"""What the routes work with: the stores, the way to the workers, and the current model."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from flask import current_app
from redis import Redis

from shared.records import backlog
from shared.observe import log, metrics, tracing
from shared import model_info
from shared.records.claims import Claim
from shared.errors import ClassifierError, ImagesNeeded, JobNotFound, ModelNotReady
from shared.records.job_records import JobRecords
from shared.records.submit import PutPart
from shared.jobs import PART_SIZE, Job, Lane, NewItem, NewJob, OpenJob, Outcome
from shared.model_info import ModelInfo
from shared.result_cache import ResultCache
from shared.settings import Settings
from web.http import auth
from web.intake import uploads
from web.submit.admission import Admission
from web.submit.coalescer import Coalescer
from web.follow.commit_listener import CommitListener
from web.follow.event_streams import EventStreams
from web.submit.look_ups import LookUps
from web.intake.parts import PartUpload, new_items
from web.schemas import JobSchema
from web.intake.uploads import Upload

logger = logging.getLogger(__name__)

#: A new model version is noticed after this; asking at each request would cost a round trip.
_MODEL_SECONDS = 1.0


class Service:
    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        records: JobRecords,
        cache: ResultCache,
    ) -> None:
        self.settings = settings
        self.redis = redis
        self.jobs = records.reader
        self.canceller = records.canceller
        self.recovery = records.recovery
        self._cache = cache
        self._look_ups = LookUps(cache)
        self.admission = Admission(
            redis,
            records.submitter,
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
        self.streams = EventStreams(
            self.commits,
            self.jobs,
            tell=lambda job: self.told(job).model_dump_json().encode(),
            most=settings.max_event_streams,
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

    def told(self, job: Job) -> JobSchema:
        """A job as clients read it: with what is ahead of it, for one more round trip."""
        deadline = self.settings.part_deadline_seconds
        return JobSchema.of(job, backlog.outlook(self.redis, job, deadline_seconds=deadline))

    def submit(
        self,
        job_id: str,
        files: Sequence[Upload],
        *,
        lane: Lane,
        top_k: int,
        custom_ids: Sequence[str] = (),
        claim: Claim | None = None,
        webhook: str | None = None,
    ) -> list[Outcome | None]:
        """Accept a job: stored and queued. Gives the outcomes that are known at once.

        A bad file becomes its item's error; its neighbours are not touched. Raises Overloaded
        where there is no room, and then keeps nothing, and AlreadyClaimed.
        """
        log.note(job_id=job_id)
        with self._coalescer.expecting():
            outcomes = self._known_outcomes(files, top_k)
        items = _new_items(files, outcomes, custom_ids)
        size = sum(len(item.data) for item in items if item.outcome is None)
        with tracing.upload() as trace:
            job = NewJob(
                id=job_id,
                lane=lane,
                top_k=top_k,
                items=items,
                owner=auth.owner(),
                webhook=webhook,
                trace=trace,
            )
            with self.admission.room(lane, images=job.pending, size=size):
                self._accept(job, claim)
        metrics.IMAGES_ACCEPTED.labels(lane).inc(len(items))
        return outcomes

    def _accept(self, job: NewJob, claim: Claim | None) -> None:
        small = 0 < job.pending <= PART_SIZE >= len(job.items)
        if claim is None and job.lane is Lane.INTERACTIVE and small:
            self._coalescer.submit(job)
        else:
            self.admission.accept([job], claim)

    def open(self, job: OpenJob, claim: Claim | None = None) -> None:
        """Store a job whose pictures follow in parts. Raises AlreadyClaimed."""
        log.note(job_id=job.id)
        self.admission.open(job, claim)

    def known(self, digests: Sequence[str]) -> list[int]:
        """Positions of the digests that the present model has answered before."""
        try:
            return self._cache.known(self.model().version, digests)
        except ModelNotReady:  # nothing is known until a worker tells which model it is for
            return []

    def put_part(self, job: Job, number: int, uploaded: Sequence[PartUpload]) -> PutPart:
        """Accept a part of an open job: stored and queued, all of it or nothing.

        A bad file becomes its item's error. Raises ImagesNeeded where a digest is not known,
        Overloaded where there is no room, and as JobSubmitter.put_part does.
        """
        log.note(part_id=f"{job.id}:{number}")
        outcomes = [self._refused(each) for each in uploaded]
        digests = [each.digest for each in uploaded]
        self._answer_from_cache(outcomes, digests, job.top_k)
        waiting = [each for each, outcome in zip(uploaded, outcomes, strict=True) if not outcome]
        if any(each.read is None for each in waiting):
            if self.jobs.digests(job.id, number) == digests:
                return PutPart(False, len(self.jobs.missing_parts(job.id)), None)
            raise ImagesNeeded(
                [
                    number * PART_SIZE + k
                    for k, each in enumerate(uploaded)
                    if each.read is None and outcomes[k] is None
                ]
            )
        size = sum(each.size for each in waiting)
        with (
            tracing.upload() as trace,
            self.admission.room(job.lane, images=len(waiting), size=size),
        ):
            put = self.admission.put_part(job, number, new_items(uploaded, outcomes), trace)
        if put.is_new:
            metrics.IMAGES_ACCEPTED.labels(job.lane).inc(len(uploaded))
        return put

    def _known_outcomes(self, files: Sequence[Upload], top_k: int) -> list[Outcome | None]:
        """For each file: an error, an answer from the cache, or None where a worker must look."""
        outcomes = [self._refusal(file.data, len(file.data)) for file in files]
        self._answer_from_cache(outcomes, [file.digest for file in files], top_k)
        return outcomes

    def _answer_from_cache(
        self, outcomes: list[Outcome | None], digests: Sequence[str], top_k: int
    ) -> None:
        """Put the outcomes that are known where there is none."""
        asked = [k for k, outcome in enumerate(outcomes) if outcome is None]
        for k, cached in zip(asked, self._from_cache([digests[k] for k in asked]), strict=True):
            metrics.CACHE_REQUESTS.labels("hit" if cached else "miss").inc()
            if cached:
                outcomes[k] = replace(cached, predictions=cached.predictions[:top_k])

    def _refused(self, picture: PartUpload) -> Outcome | None:
        if picture.error:
            return Outcome.failure(picture.error)
        return self._refusal(picture.head, picture.size) if picture.read else None

    def _refusal(self, head: bytes, size: int) -> Outcome | None:
        try:
            uploads.check(head, max_bytes=self.settings.max_image_bytes, size=size)
        except ClassifierError as error:
            return Outcome.failure(error)
        return None

    def _from_cache(self, digests: Sequence[str]) -> list[Outcome | None]:
        try:
            version = self.model().version
        except ModelNotReady:  # the picture waits for the first worker, as it may
            return [None] * len(digests)
        return self._look_ups.get(version, digests)


def _new_items(
    files: Sequence[Upload], outcomes: Sequence[Outcome | None], custom_ids: Sequence[str]
) -> list[NewItem]:
    names: Sequence[str | None] = custom_ids or [None] * len(files)
    return [
        NewItem(
            name=file.name,
            digest=file.digest,
            data=file.data,
            custom_id=custom_id,
            outcome=outcome,
        )
        for file, custom_id, outcome in zip(files, names, outcomes, strict=True)
    ]


def service() -> Service:
    """The service of the current application."""
    found: Service = current_app.extensions["service"]
    return found
