"""`/dead-letters`: pictures on which every worker died. They can be listed and tried again."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, request
from flask_openapi import APIBlueprint, Tag

from shared.errors import (
    DeadLetterNotFound,
    IdempotencyKeyReused,
    InvalidRequest,
    JobNotFound,
    ListingNeedsKey,
    Overloaded,
)
from shared.records.overdue.dead_letters import DeadLetter
from web.http import idempotency
from web.http.answers import answer, documented
from web.routes.backend import backend, check_may_list, own_job, owner
from web.schemas.dead_letters import DeadLetterPath, DeadLetterList, DeadLetterSchema
from web.schemas.job import JobSchema

_TAG = Tag(name="Dead letters", description="Pictures on which every worker died.")

blueprint = APIBlueprint("dead_letters", __name__, url_prefix="/api/v1", abp_tags=[_TAG])

#: Name of this call in stored idempotency claims.
_RETRY = "dead_letters.retry"


@blueprint.get(
    "/dead-letters",
    responses=documented({200: DeadLetterList}, ListingNeedsKey),
    operation_id="listDeadLetters",
)
def read() -> Response:
    """List the pictures on which every worker died, oldest first.

    Yours are those of your API key. Without API keys, clients of this machine may list all, and
    others none.
    """
    check_may_list()
    letters = [DeadLetterSchema.of(letter) for letter in _letters()]
    return answer(DeadLetterList(dead_letters=letters))


@blueprint.post(
    "/dead-letters/<letter_id>/retry",
    responses=documented(
        {202: JobSchema},
        *(DeadLetterNotFound, JobNotFound, InvalidRequest, IdempotencyKeyReused, Overloaded),
    ),
    operation_id="retryDeadLetter",
)
def retry(path: DeadLetterPath) -> Response:
    """Try a picture once more, alone.

    Its job runs again until that is done.
    """
    job_id = retried(path.letter_id, _letters)
    return answer(backend().view.schema(own_job(job_id)), 202)


def retried(letter_id: str, letters: Callable[[], list[DeadLetter]]) -> str:
    """Retry one of `letters`, as the present request asks. Returns the id of its job.

    Raises DeadLetterNotFound.
    """
    key = idempotency.key_of(request.headers, owner(), _RETRY)
    claim = key and key.claim(letter_id)

    def make() -> str:
        for letter in letters():
            if letter.member == letter_id and backend().dead_letters.retry(letter, claim):
                return letter.job_id
        # Another request with this key may have come at the same moment, and retried it first.
        if claim and (earlier := backend().jobs.claimed(claim)):
            return earlier
        raise DeadLetterNotFound

    return idempotency.once(backend().jobs, claim, make)


def _letters() -> list[DeadLetter]:
    """The dead letters of the client that asks."""
    mine = owner()
    return [each for each in backend().dead_letters.all() if each.owner == mine]
