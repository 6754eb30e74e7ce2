"""Turns errors into HTTP answers: the table of statuses, and bodies as in RFC 9457."""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, request
from pydantic import ValidationError
from redis.exceptions import RedisError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from shared import errors
from shared.observe import metrics
from shared.sizes import too_large
from web.schemas.problem import Problem
from web.schemas.schema import fields_of

logger = logging.getLogger(__name__)

_STATUS: dict[type[errors.ClassifierError], HTTPStatus] = {
    errors.UnsupportedFormat: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.ImageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.RequestTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.TooManyFiles: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.ArchiveTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ImageExpired: HTTPStatus.GONE,
    errors.NotAuthenticated: HTTPStatus.UNAUTHORIZED,
    errors.ApiKeyExpired: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.HostNotAllowed: HTTPStatus.BAD_REQUEST,
    errors.CrossSite: HTTPStatus.FORBIDDEN,
    errors.ListingNeedsKey: HTTPStatus.FORBIDDEN,
    errors.ThumbnailNotFound: HTTPStatus.NOT_FOUND,
    errors.JobNotFound: HTTPStatus.NOT_FOUND,
    errors.NoWebhook: HTTPStatus.NOT_FOUND,
    errors.JobClosed: HTTPStatus.CONFLICT,
    errors.JobCancelled: HTTPStatus.CONFLICT,
    errors.PartConflict: HTTPStatus.CONFLICT,
    errors.ImagesNeeded: HTTPStatus.CONFLICT,
    errors.DeadLetterNotFound: HTTPStatus.NOT_FOUND,
    errors.NotAcceptable: HTTPStatus.NOT_ACCEPTABLE,
    errors.ModelNotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.TryLater: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    errors.TooManyOpenJobs: HTTPStatus.TOO_MANY_REQUESTS,
    errors.TooManyOutstanding: HTTPStatus.TOO_MANY_REQUESTS,
    errors.TooMuchKept: HTTPStatus.TOO_MANY_REQUESTS,
    errors.DailyLimitReached: HTTPStatus.TOO_MANY_REQUESTS,
}

#: Status by error code, for errors of items. `/classify` answers with the error of its one item.
_STATUS_BY_CODE = {error.code: status for error, status in _STATUS.items()}

#: `Retry-After` of an answer 503 whose error has no time of its own.
_RETRY_AFTER_SECONDS = 2

#: Characters of a field's name that an answer repeats.
_LONGEST_NAME = 64

#: Plainer than what pydantic says, by its type of error.
_REASONS = {
    "int_parsing": "Input should be a whole number",
    "float_parsing": "Input should be a number",
    "bool_parsing": "Input should be `true` or `false`",
}


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    job_id: str | None = None,
    indexes: Sequence[int] | None = None,
) -> Response:
    body = problem_body(status, code, detail, job_id=job_id, indexes=indexes)
    response = Response(body, status, mimetype="application/problem+json")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(_RETRY_AFTER_SECONDS)
    return response


def problem_body(status: int, code: str, detail: str, **more: Any) -> str:
    title = HTTPStatus(status).phrase
    body = Problem(title=title, status=status, detail=detail, code=code, **more)
    return body.model_dump_json(exclude_none=True)


def status_of(code: str) -> int:
    """The status for the code of a failed item. Codes of the decoder mean a bad picture: 422."""
    return _STATUS_BY_CODE.get(code, HTTPStatus.UNPROCESSABLE_ENTITY)


def invalid(error: ValidationError) -> Response:
    """The answer to a request that a schema refused: its first fault, and the field of that."""
    # An unknown field comes first: it is often the reason why another one is missing.
    fault, *others = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    steps = fault["loc"]
    if (*steps[:-1], "none") in [other["loc"] for other in others]:
        steps = steps[:-1]  # the field has several types, and the last step names one of them
    # A name that a client chose may have megabytes.
    field = ".".join(str(step)[:_LONGEST_NAME] for step in steps)
    if fault["type"] == "extra_forbidden":
        return answer_to(_unknown_field(field, fields_of(error.title)))
    if fault["type"] == "json_invalid":
        reason = fault["msg"].removeprefix("Invalid JSON: ")
        return answer_to(errors.InvalidRequest(f"The body is not valid JSON: {reason}."))
    reason = _REASONS.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
    return answer_to(errors.InvalidRequest(f"{field or 'body'}: {reason}"))


def _unknown_field(field: str, fields: Sequence[str]) -> errors.UnknownField:
    expected = "Leave it out, or check how it is spelt."
    if fields:
        expected = f"Allowed here: {', '.join(f'`{name}`' for name in fields)}."
    what = f"Unknown field `{field}`" if field else "The request has a field without a name"
    return errors.UnknownField(f"{what}. {expected}")


def register(app: Flask) -> None:
    app.register_error_handler(errors.ClassifierError, answer_to)
    app.register_error_handler(ValidationError, invalid)
    app.register_error_handler(HTTPException, _on_http_exception)
    app.register_error_handler(RedisError, _on_outage)
    app.register_error_handler(OSError, _on_os_error)
    app.register_error_handler(Exception, _on_bug)


def status_for(error: type[errors.ClassifierError]) -> int:
    """The status of an answer with this error: that of the nearest class in the table."""
    statuses = (_STATUS[each] for each in error.__mro__ if each in _STATUS)
    return next(statuses, HTTPStatus.INTERNAL_SERVER_ERROR)


def answer_to(error: errors.ClassifierError) -> Response:
    status = status_for(type(error))
    route = request.url_rule.rule if request.url_rule else "unknown"
    metrics.REFUSALS.labels(error.code, route).inc()
    indexes = error.indexes if isinstance(error, errors.ImagesNeeded) else None
    response = problem(status, error.code, str(error), indexes=indexes)
    if isinstance(error, errors.TryLater):
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    elif isinstance(error, errors.NotAuthenticated | errors.ApiKeyExpired):
        response.headers["WWW-Authenticate"] = 'Bearer realm="image classifier"'
    return response


def _on_http_exception(error: HTTPException) -> Response:
    """Refusals of Werkzeug: an unknown address, a wrong method, a body over the limit."""
    if error.response is not None and isinstance(error.response, Response):
        return error.response
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return answer_to(_request_too_large())
    code = HTTPStatus(status).phrase.lower().replace(" ", "_")
    response = problem(status, code, _detail(error))
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    return response


def _detail(error: HTTPException) -> str:
    if isinstance(error, NotFound):
        return "There is nothing at this address. /docs lists all calls, such as /jobs."
    if isinstance(error, MethodNotAllowed):
        methods = " or ".join(sorted(set(error.valid_methods or ()) - {"HEAD", "OPTIONS"}))
        return f"This address does not take {request.method}. Use {methods}."
    return error.description or ""


def _request_too_large() -> errors.RequestTooLarge:
    size, most = request.content_length, request.max_content_length
    if not (size and most and size > most):  # a body in chunks, or too many fields
        return errors.RequestTooLarge()
    return errors.RequestTooLarge(
        f"The request has {too_large(size, most)}. Send fewer or smaller files in one request."
    )


def _on_outage(error: Exception) -> Response:
    logger.warning("Redis cannot be reached: %s", error)
    return answer_to(errors.Unavailable())


def _on_os_error(error: OSError) -> Response:
    """Large uploads are kept on disk, which may be full."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return _on_bug(error)
    logger.error("the disk is full, so an upload was refused", exc_info=error)
    full = "The disk of the service is full. Try again later."
    return answer_to(errors.Overloaded(full, retry_after_seconds=30))


def _on_bug(error: Exception) -> Response:
    logger.error("unhandled error", exc_info=error)
    detail = "The service has a fault. Its log says more, under the id in X-Request-Id."
    return problem(500, errors.ClassifierError.code, detail)
