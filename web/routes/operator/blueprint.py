"""Who may operate the service, and the log of what an operator does."""

from __future__ import annotations

import logging

from flask import Response, g, request
from flask_openapi import APIBlueprint, Tag

from shared.errors import Forbidden
from shared.observe import log
from web.http import auth, clients

logger = logging.getLogger(__name__)

_DETAIL = "operator_detail"

_TAG = Tag(
    name="Operator",
    description="All jobs, the lanes and the workers. A key needs the scope `operate`.",
)

blueprint = APIBlueprint(
    auth.OPERATOR_BLUEPRINT, __name__, url_prefix="/api/v1/operator", abp_tags=[_TAG]
)


def note(detail: str) -> None:
    """Add to the log line of the present call what its address does not say."""
    setattr(g, _DETAIL, f", {detail}")


@blueprint.before_request
def _require_operator() -> None:
    """`web.http.auth` has checked the scope of the key before, if keys are on."""
    if auth.KEY not in request.environ and not clients.is_local(request):
        raise Forbidden(
            "Without API keys, only clients of the service's own machine may operate it."
        )


@blueprint.after_request
def _log(response: Response) -> Response:
    """Who called what, also if it was refused."""
    logger.info(
        "operator call by %s: %s %s: %d%s",
        clients.name_of(request),
        request.method,
        request.full_path.rstrip("?"),
        response.status_code,
        g.get(_DETAIL, ""),
        extra={
            "event.dataset": log.AUDIT,
            "event.action": (request.endpoint or "").partition(".")[2],
            "http.request.method": request.method,
            "url.path": request.path,
            "http.response.status_code": response.status_code,
        },
    )
    return response
