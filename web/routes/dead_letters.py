"""`/dead-letters`: pictures that no worker survived, to be looked at and tried again."""

from __future__ import annotations

from flask import Response
from flask_openapi import APIBlueprint

from shared.errors import DeadLetterNotFound
from shared.records.recovery import DeadLetter
from web.http import auth, idempotency
from web.http.answers import answer, documented
from web.schemas import DeadLetterPath, DeadLetterSchema, DeadLetters, JobSchema
from web.submit.service import service

blueprint = APIBlueprint("dead_letters", __name__, url_prefix="/api/v1")


@blueprint.get("/dead-letters", responses=documented({200: DeadLetters}, 503))
def read() -> Response:
    """List the pictures that every worker died on, oldest first."""
    letters = [DeadLetterSchema.of(letter) for letter in _letters()]
    return answer(DeadLetters(dead_letters=letters))


@blueprint.post(
    "/dead-letters/<letter_id>/retry", responses=documented({202: JobSchema}, 404, 422, 503)
)
def retry(path: DeadLetterPath) -> Response:
    """Try a picture once more, alone; its job runs again until that is done."""
    claim = idempotency.claim(path.letter_id)

    def make() -> str:
        for letter in _letters():
            if letter.member == path.letter_id and service().recovery.retry(letter, claim):
                return letter.job_id
        # Two who came at once with one key: it was there, and the other was faster.
        if claim and (earlier := service().jobs.claimed(claim)):
            return earlier
        raise DeadLetterNotFound

    return answer(service().told(service().job(idempotency.once(claim, make))), 202)


def _letters() -> list[DeadLetter]:
    """Those of whoever asks."""
    return [each for each in service().recovery.dead_letters() if each.owner == auth.owner()]
