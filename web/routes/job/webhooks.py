"""`/jobs/<id>/webhook`: how the delivery of a job's webhook goes."""

from __future__ import annotations

from flask import Response

from shared.errors import JobNotFound, NoWebhook
from shared.records.webhooks import outbox
from web.http.answers import answer, documented
from web.routes.backend import backend, own_job
from web.routes.jobs import blueprint
from web.schemas.job import JobPath, Webhook


@blueprint.get(
    "/jobs/<job_id>/webhook",
    responses=documented({200: Webhook}, JobNotFound, NoWebhook),
    operation_id="getWebhook",
)
def read_webhook(path: JobPath) -> Response:
    """Read how the delivery of a job's webhook goes.

    It is readable as long as the job.
    """
    job = own_job(path.job_id)
    if not job.webhook:
        raise NoWebhook
    return answer(Webhook.of(outbox.delivery(backend().redis, job)))
