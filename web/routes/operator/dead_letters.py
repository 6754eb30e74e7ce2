"""`/operator/dead-letters`: those of all clients are listed, tried again and deleted."""

from __future__ import annotations

from flask import Response

from shared.errors import (
    DeadLetterNotFound,
    IdempotencyKeyReused,
    InvalidRequest,
    JobNotFound,
)
from web.http.answers import answer, documented
from web.routes.backend import backend
from web.routes.dead_letters import retried
from web.routes.operator.blueprint import blueprint
from web.schemas.dead_letters import DeadLetterPath
from web.schemas.job import JobSchema
from web.schemas.operator import OwnedDeadLetter, OwnedDeadLetterList


@blueprint.get(
    "/dead-letters",
    responses=documented({200: OwnedDeadLetterList}),
    operation_id="listAllDeadLetters",
)
def list_dead_letters() -> Response:
    """List the pictures of all clients on which every worker died, oldest first."""
    letters = [OwnedDeadLetter.of(letter) for letter in backend().dead_letters.all()]
    return answer(OwnedDeadLetterList(dead_letters=letters))


@blueprint.post(
    "/dead-letters/<letter_id>/retry",
    responses=documented(
        {202: JobSchema}, DeadLetterNotFound, JobNotFound, InvalidRequest, IdempotencyKeyReused
    ),
    operation_id="retryAnyDeadLetter",
)
def retry_dead_letter(path: DeadLetterPath) -> Response:
    """Try a picture of any client once more, alone."""
    job = backend().jobs.get(retried(path.letter_id, backend().dead_letters.all))
    return answer(backend().view.schema(job), 202)


@blueprint.delete(
    "/dead-letters/<letter_id>",
    responses=documented({200: OwnedDeadLetter}, DeadLetterNotFound),
    operation_id="deleteDeadLetter",
)
def delete_dead_letter(path: DeadLetterPath) -> Response:
    """Delete a dead letter with its picture.

    Its item stays failed with `worker_lost`.
    """
    for letter in backend().dead_letters.all():
        if letter.member == path.letter_id:
            backend().dead_letters.remove(letter.member)
            return answer(OwnedDeadLetter.of(letter))
    raise DeadLetterNotFound
