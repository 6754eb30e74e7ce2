"""Submitting pictures: from what was uploaded to what is stored and queued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from shared.errors import ImagesNeeded
from shared.jobs import PART_SIZE, Job, JobOptions, Lane, NewJob, OpenJob, Outcome
from shared.observe import log, metrics, tracing
from shared.records import footprint
from shared.records.claims import Claim
from shared.records.read import JobReader
from shared.records.submit import PutPart
from shared.serving.model_versions import CurrentModel
from web.http.clients import Client
from web.intake.uploads import Upload, new_items
from web.submit.admission import Admission
from web.submit.cached_answers import CachedAnswers
from web.submit.coalescer import Coalescer
from web.submit.limits import Need
from web.submit.room import Room


class Submission:
    """Accepts pictures. A picture with a fault becomes an item with that error."""

    def __init__(
        self,
        jobs: JobReader,
        answers: CachedAnswers,
        admission: Admission,
        coalescer: Coalescer,
        model: CurrentModel,
        *,
        thumbnails: bool,
    ) -> None:
        """Without `thumbnails`, no job gets them, also if it asks."""
        self._jobs = jobs
        self._answers = answers
        self._admission = admission
        self._coalescer = coalescer
        self._model = model
        self._thumbnails = thumbnails

    def submit(
        self,
        owner: str,
        job_id: str,
        uploads: Sequence[Upload],
        room: Room,
        *,
        lane: Lane,
        top_k: int,
        min_score: float = 0,
        claim: Claim | None = None,
        webhook: str | None = None,
        thumbnails: bool = False,
        embeddings: bool = False,
        listed: bool = True,
    ) -> list[Outcome | None]:
        """Store and queue a job of `owner`, and give back `room`. Gives the outcomes known so far.

        Raises AlreadyClaimed, NoEmbedding and ModelNotReady if the model cannot give `embeddings`,
        and as `Room.fill` does if there is no room; then nothing is stored.
        """
        log.note(job_id=job_id)
        thumbnails = thumbnails and self._thumbnails
        with room, tracing.upload() as trace:
            with self._coalescer.expecting():
                version = self._model.served(lane)
                numbers = self._model.embedding(version) if embeddings else 0
                outcomes = self._answers.outcomes(
                    uploads,
                    top_k,
                    thumbnails=thumbnails,
                    embeddings=bool(numbers),
                    version=version or None,
                )
            job = NewJob(
                id=job_id,
                lane=lane,
                top_k=top_k,
                min_score=min_score,
                items=list(new_items(uploads, outcomes)),
                owner=owner,
                client=room.client.name,
                weight=room.client.limits.weight,
                webhook=webhook,
                trace=trace,
                thumbnails=thumbnails,
                embeddings=numbers,
                listed=listed,
                model_version=version,
            )
            room.fill(lane, _need(uploads, outcomes, job))
            with self._admission.staged(job, room) as without_bytes:
                self._accept(without_bytes, claim)
        metrics.IMAGES_ACCEPTED.labels(lane).inc(len(uploads))
        return outcomes

    def _accept(self, job: NewJob, claim: Claim | None) -> None:
        is_single = job.lane is Lane.INTERACTIVE and len(job.items) == job.pending == 1
        if is_single and claim is None:
            self._coalescer.submit(job)
        else:
            self._admission.accept([job], claim)

    def open(
        self, job: OpenJob, client: Client, claim: Claim | None = None, *, embeddings: bool = False
    ) -> None:
        """Store a job of `client` whose pictures follow in parts.

        Raises AlreadyClaimed, TooManyOpenJobs, NoEmbedding and ModelNotReady as `submit` does, and
        as `Room.fill` does if there is no room.
        """
        log.note(job_id=job.id)
        with self._admission.room(client) as room:
            room.fill(job.lane, Need(records=footprint.of_open_job(job.total)))
            version = self._model.served(job.lane)
            numbers = self._model.embedding(version) if embeddings else 0
            job = replace(
                job,
                model_version=version,
                embeddings=numbers,
                thumbnails=job.thumbnails and self._thumbnails,
            )
            self._admission.open(job, claim)

    def put_part(self, job: Job, number: int, uploads: Sequence[Upload], room: Room) -> PutPart:
        """Store and queue a part of an open job, all of it or nothing, and give back `room`.

        Raises ImagesNeeded if a digest has no answer, what JobSubmitter.put_part raises, and as
        `Room.fill` does if there is no room.
        """
        log.note(part_id=f"{job.id}:{number}")
        with room, tracing.upload() as trace:
            outcomes = self._answers.outcomes(
                uploads,
                job.top_k,
                thumbnails=job.thumbnails,
                embeddings=bool(job.embeddings),
                version=job.model_version,
            )
            if missing := _without_bytes(uploads, outcomes):
                if self._jobs.digests(job.id, number) == [each.digest for each in uploads]:
                    return PutPart(False, len(self._jobs.missing_parts(job.id)), None)
                raise ImagesNeeded([number * PART_SIZE + k for k in missing])
            room.fill(job.lane, _need(uploads, outcomes, job))
            version = self._model.served(job.lane, job.model_version)
            items = new_items(uploads, outcomes)
            put = self._admission.put_part(job, number, items, trace, room, version=version)
        if put.is_new:
            metrics.IMAGES_ACCEPTED.labels(job.lane).inc(len(uploads))
        return put


def _without_bytes(uploads: Sequence[Upload], outcomes: Sequence[Outcome | None]) -> list[int]:
    """Positions of the pictures that only their digest names, and that the cache cannot answer."""
    pairs = zip(uploads, outcomes, strict=True)
    return [k for k, (each, outcome) in enumerate(pairs) if each.read is None and outcome is None]


def _need(
    uploads: Sequence[Upload], outcomes: Sequence[Outcome | None], options: JobOptions
) -> Need:
    sizes = [each.size for each, outcome in zip(uploads, outcomes, strict=True) if not outcome]
    records = footprint.of_items(
        uploads, thumbnails=options.thumbnails, embeddings=options.embeddings
    )
    size = sum(sizes)
    more = sum(map(footprint.of_image, sizes)) - size
    return Need(len(sizes), size, records + more, today=len(uploads))
