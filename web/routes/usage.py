"""`/usage`: what the calling client has outstanding and keeps, and its limits."""

from __future__ import annotations

from flask import Response
from flask_openapi import APIBlueprint, Tag

from shared import clock
from shared.records.accounts import account
from web.http.answers import answer, documented
from web.routes.backend import backend, client
from web.schemas.usage import Usage, UsageLimits

_TAG = Tag(name="Usage", description="What you have outstanding, and what you may have.")

blueprint = APIBlueprint("usage", __name__, url_prefix="/api/v1", abp_tags=[_TAG])


@blueprint.get("/usage", responses=documented({200: Usage}), operation_id="getUsage")
def read() -> Response:
    """Read what your client has outstanding, held and kept, and its limits.

    A client is an API key, or the address if keys are off. All keys of one name are one client.
    """
    redis, limits = backend().redis, client().limits
    present = account.read(redis, client().name)
    usage = Usage(
        client=client().name,
        outstanding_images=dict(present.images),
        bytes_held=present.size,
        bytes_kept=present.kept,
        images_today=present.today,
        day_ends_at=account.end_of_day(clock.now(redis)),
        limits=UsageLimits(
            images=limits.images, bytes=limits.bytes, images_per_day=limits.images_per_day
        ),
    )
    return answer(usage)
