"""The web application: `gunicorn -c web/server/gunicorn.conf.py "web.app:create_app()"`.

The only place in web that builds things.
"""

from __future__ import annotations

from flask import Response, redirect, url_for
from flask_openapi import Info, OpenAPI

from werkzeug.middleware.proxy_fix import ProxyFix

from shared.observe import log, tracing
from shared.records.job_records import JobRecords
from shared.redis_client import connect
from shared.result_cache import ResultCache
from shared.settings import Settings
from web.intake.archives import uploads
from web.http import auth, errors, rate_limit, requests
from web.submit import early_refusals
from web.http import security_headers
from web.http.openapi import DocumentedApi
from web.http.api_keys import ApiKeys
from web.routes import classify, dead_letters, events, health, jobs, metrics, model, page, results
from web.schemas import Problem
from web.submit.service import Service
from web.server.gunicorn_worker import ON_STOP
from web.server.slow_uploads import SlowUploads
from web.server.unread_body import UnreadBody

VERSION = "0.1.0"

#: As logs and traces call it.
SERVICE = "classifier-web"


def create_app(settings: Settings | None = None) -> OpenAPI:
    settings = settings or Settings()
    log.configure(settings, SERVICE)
    tracing.configure(settings, SERVICE)
    app = DocumentedApi(
        __name__,
        info=Info(
            title="Image classifier",
            version=VERSION,
            description="Send pictures, get labels. Errors carry a stable `code`.",
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
    # Generators of clients know 3.1; flask-openapi says 3.2 by default.
    app.openapi_version = "3.1.0"
    app.config["MAX_CONTENT_LENGTH"] = settings.max_request_bytes
    service = _service(settings)
    app.extensions["service"] = service
    app.extensions[ON_STOP] = service.streams.end_all
    requests.register(app)
    security_headers.register(app)
    errors.register(app)
    for blueprint in (classify.blueprint, jobs.blueprint, model.blueprint, health.blueprint):
        app.register_api(blueprint)
    app.register_api(results.blueprint)
    app.register_api(events.blueprint)
    app.register_api(dead_letters.blueprint)
    app.register_blueprint(metrics.blueprint)
    app.register_blueprint(page.blueprint)
    _serve_jobs_at_root(app)
    _serve_docs(app)
    _guard(app, settings)
    return app


def _guard(app: OpenAPI, settings: Settings) -> None:
    """Who may ask, whether there is room, and how often: in this order, the cheap ones first."""
    app.wsgi_app = SlowUploads(  # type: ignore[assignment,method-assign]
        app.wsgi_app, seconds=settings.slow_upload_seconds
    )
    keys = ApiKeys(settings.api_keys_file) if settings.api_keys_file else None
    if keys:
        auth.register(app, keys)
    early_refusals.register(
        app,
        app.extensions["service"].admission,
        may_ask=lambda asked: keys is None or auth.name_of(keys, asked) is not None,
        most_at_once=settings.max_concurrent_submissions,
        largest_picture=settings.max_image_bytes,
        largest_body=settings.max_request_bytes,
    )
    app.wsgi_app = UnreadBody(app.wsgi_app)  # type: ignore[assignment,method-assign]
    if settings.rate_limit_per_minute:
        redis = app.extensions["service"].redis
        rate_limit.register(app, redis, per_minute=settings.rate_limit_per_minute)
    uploads.register(app, settings)
    if settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.trusted_proxies)  # type: ignore


def _service(settings: Settings) -> Service:
    # As many as may speak with Redis at once; a waiting client holds none.
    redis = connect(settings.redis_url, max_connections=32)
    records = JobRecords.from_settings(redis, settings)
    cache = ResultCache(redis, ttl_seconds=settings.cache_ttl_seconds)
    return Service(settings, redis, records, cache)


def _serve_jobs_at_root(app: OpenAPI) -> None:
    """`/jobs/<id>` beside `/api/v1/jobs/<id>`: short to type, and what a job's address promises."""
    for rule in list(app.url_map.iter_rules()):
        if rule.rule.startswith("/api/v1/jobs"):
            path = rule.rule.removeprefix("/api/v1")
            methods = rule.methods
            app.add_url_rule(
                path,
                endpoint=f"root.{rule.endpoint}",
                view_func=app.view_functions[rule.endpoint],
                methods=methods,
            )


def _serve_docs(app: OpenAPI) -> None:
    """The usual short addresses of the pages that flask-openapi serves under /openapi."""

    def to(endpoint: str) -> Response:
        return redirect(url_for(endpoint))  # type: ignore[return-value]

    app.add_url_rule("/docs", "docs", lambda: to("swagger.swagger"))
    app.add_url_rule("/redoc", "redoc", lambda: to("redoc.redoc"))
    app.add_url_rule("/openapi.json", "openapi_json", lambda: app.api_doc)
