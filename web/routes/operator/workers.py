"""`/operator/workers`: what each worker runs."""

from __future__ import annotations

from flask import Response

from shared.operation import worker_reports
from web.http.answers import answer, documented
from web.routes.backend import backend
from web.routes.operator.blueprint import blueprint
from web.schemas.operator import WorkerList, WorkerSchema


@blueprint.get("/workers", responses=documented({200: WorkerList}), operation_id="listWorkers")
def list_workers() -> Response:
    """List the workers that accept parts. Each of them reports every five seconds."""
    reports = worker_reports.read(backend().redis)
    return answer(WorkerList(workers=[WorkerSchema.of(report) for report in reports]))
