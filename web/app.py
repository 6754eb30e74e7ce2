"""The web application: `gunicorn -c web/server/gunicorn.conf.py "web.app:create_app()"`.

Everything in web is built here.
"""

from __future__ import annotations

from functools import partial

from flask_openapi import Info, OpenAPI

from shared.jobs import Lane
from shared.observe import log, tracing
from shared.operation.purge import Purge
from shared.records.job_records import JobRecords
from shared.redis_client import RedisCheck, connect
from shared.result_cache import ResultCache
from shared.settings import Settings
from shared.thumbnails import Thumbnails
from shared.version import VERSION
from web.follow.commit_listener import CommitListener
from web.follow.event_streams import EventStreams
from web.follow.job_view import JobView
from web.http import (
    auth,
    error_page,
    errors,
    origins,
    rate_limit,
    replicas,
    requests,
    security_headers,
)
from web.http.api_keys import ApiKeys
from web.http.openapi import DocumentedApi
from web.http.origins import OriginGuard
from web.intake import forms
from web.intake.archives.uploads import ArchiveUploads
from web.routes import (
    classify,
    dead_letters,
    documents,
    health,
    jobs,
    metrics,
    model,
    operator,
    page,
    usage,
)
from web.routes import submissions  # noqa: F401  (it adds calls to those of jobs)
from web.routes.job import events, results, thumbnails
from web.routes.job import parts, webhooks  # noqa: F401  (they add calls, too)
from web.routes.backend import Backend, raise_objection
from web.http.short_paths import ShortPaths
from web.schemas.problem import Problem
from web.server.gunicorn_worker import ON_STOP
from web.server.long_headers import LongHeaders
from web.server.fairness.pacing import Pacing
from web.server.proxies import Proxies
from web.server.fairness.shares import Shares
from web.server.slow_uploads import SlowUploads
from web.server.unread_body import UnreadBody
from web.submit import bodies, early_refusals
from web.submit.admission import Admission
from web.submit.archive_jobs import ArchiveJobs
from web.submit.bodies import Bodies
from web.submit.cached_answers import CachedAnswers
from web.submit.coalescer import Coalescer
from shared.serving.model_versions import CurrentModel
from web.submit.early_refusals import EarlyRefusals
from web.routes.form_files import FormRequest
from web.submit.submission import Submission

#: The name of this program in logs and traces.
SERVICE = "classifier-web"

#: Connections to Redis of one process. A client that waits for its answer holds none.
_MAX_CONNECTIONS = 32


def create_app(settings: Settings | None = None) -> OpenAPI:
    settings = settings or Settings()
    log.configure(settings, SERVICE)
    tracing.configure(settings, SERVICE)
    forms.accept_any_name()
    app = _api(settings)
    backend = _backend(settings)
    app.extensions["backend"] = backend
    app.extensions[ON_STOP] = backend.streams.end_all
    requests.register(app)
    origins.register(app)
    security_headers.register(app)
    errors.register(app)
    error_page.register(app)
    for blueprint in (classify.blueprint, jobs.blueprint, model.blueprint, health.blueprint):
        app.register_api(blueprint)
    app.register_api(results.blueprint)
    app.register_api(thumbnails.blueprint)
    app.register_api(events.blueprint)
    app.register_api(dead_letters.blueprint)
    app.register_api(operator.blueprint)
    app.register_api(usage.blueprint)
    app.register_blueprint(metrics.blueprint)
    app.register_blueprint(page.blueprint)
    documents.register(app)
    _guard(app, backend)
    return app


def _api(settings: Settings) -> OpenAPI:
    api = DocumentedApi(
        __name__,
        info=Info(
            title="Image classifier",
            version=VERSION,
            description="Send pictures, get labels. Each error carries a stable `code`.",
        ),
        security_schemes=auth.SECURITY_SCHEMES if settings.api_keys_file else None,
        openapi_extensions=(
            {"security": [{name: []} for name in auth.SECURITY_SCHEMES]}
            if settings.api_keys_file
            else {}
        ),
        validation_error_model=Problem,
        validation_error_callback=errors.invalid,
    )
    # flask-openapi says 3.2 by default, and generators of clients do not know that yet.
    api.openapi_version = "3.1.0"
    api.request_class = FormRequest
    api.config["MAX_CONTENT_LENGTH"] = settings.max_request_bytes
    return api


def _backend(settings: Settings) -> Backend:
    redis = connect(settings.redis_url, max_connections=_MAX_CONNECTIONS)
    records = JobRecords.from_settings(redis, settings)
    admission = Admission(
        redis,
        records.submitter,
        max_images={
            Lane.INTERACTIVE: settings.max_outstanding_interactive,
            Lane.BULK: settings.max_outstanding_bulk,
        },
        max_bytes=settings.max_bytes_held,
        max_request_bytes=settings.max_request_bytes,
    )
    coalescer = Coalescer(admission.accept, max_unfinished=settings.max_unfinished_messages)
    model = CurrentModel(redis)
    cache = ResultCache(redis, ttl_seconds=settings.cache_ttl_seconds)
    thumbnails_kept = Thumbnails(redis, ttl_seconds=settings.result_ttl_seconds)
    answers = CachedAnswers(cache, thumbnails_kept, model)
    submission = Submission(
        *(records.reader, answers, admission, coalescer, model), thumbnails=settings.thumbnails
    )
    commits = CommitListener(
        redis, coalescer.on_work_done, on_outage=coalescer.on_outage, check=RedisCheck(redis)
    )
    view = JobView(redis, deadline_seconds=settings.part_deadline_seconds)
    return Backend(
        settings=settings,
        redis=redis,
        jobs=records.reader,
        canceller=records.canceller,
        purge=Purge(redis, records.reader, records.canceller),
        dead_letters=records.dead_letters,
        model=model,
        admission=admission,
        submission=submission,
        answers=answers,
        thumbnails=thumbnails_kept,
        archive_uploads=ArchiveUploads(
            max_archive_bytes=settings.max_archive_bytes,
            max_request_bytes=settings.max_request_bytes,
            wait_seconds=settings.body_wait_seconds,
        ),
        archive_jobs=ArchiveJobs(settings, records.reader, records.canceller, submission),
        commits=commits,
        streams=EventStreams(
            commits, records.reader, serialise=view.json, most=settings.max_event_streams
        ),
        view=view,
        unsent=Shares(settings.max_body_memory_bytes),
    )


def _guard(app: OpenAPI, backend: Backend) -> None:
    """Who has access, whether there is room, and how often a client asks: the cheap checks first.

    Each middleware is put in front of those before it.
    """
    settings = backend.settings
    keys = ApiKeys(settings.api_keys_file) if settings.api_keys_file else None

    app.extensions[auth.KEYS] = keys
    if keys:
        auth.register(app, keys)
    app.before_request(raise_objection)
    if settings.rate_limit_per_minute:
        rate_limit.register(app, backend.redis, per_minute=settings.rate_limit_per_minute)
    if settings.redis_wait_replicas:
        replicas.register(app, backend.redis, least=settings.redis_wait_replicas)
    wsgi = SlowUploads(app.wsgi_app, Pacing(), seconds=settings.slow_upload_seconds)
    refusing = EarlyRefusals(
        wsgi,
        backend.admission,
        Bodies.from_settings(settings),
        early_refusals.reservations(
            largest_picture=settings.max_image_bytes, largest_body=settings.max_request_bytes
        ),
        bodies.sizes(settings),
        owner_of=partial(auth.owner_of, keys),
    )
    app.wsgi_app = UnreadBody(  # type: ignore[assignment,method-assign]
        ShortPaths(refusing), seconds=settings.slow_upload_seconds
    )
    if settings.trusted_proxies:
        proxied = Proxies(app.wsgi_app, trusted=settings.trusted_proxies)
        app.wsgi_app = proxied  # type: ignore[assignment,method-assign]
    guarded = OriginGuard(app.wsgi_app, settings)
    app.wsgi_app = LongHeaders(guarded)  # type: ignore[assignment,method-assign]
