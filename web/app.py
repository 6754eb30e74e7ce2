"""The web application: `gunicorn -c web/gunicorn.conf.py "web.app:create_app()"`.

The only place in web that builds things.
"""

from __future__ import annotations

from flask import Response, redirect, url_for
from flask_openapi import Info, OpenAPI

from shared import log
from shared.job_store import JobStore
from shared.redis_client import connect
from shared.result_cache import ResultCache
from shared.settings import Settings
from web import errors, requests
from web.routes import classify, health, jobs, metrics, model
from web.schemas import Problem
from web.service import Service

VERSION = "0.1.0"


def create_app(settings: Settings | None = None) -> OpenAPI:
    settings = settings or Settings()
    log.configure(settings)
    app = OpenAPI(
        __name__,
        info=Info(
            title="Image classifier",
            version=VERSION,
            description="Send pictures, get labels. Errors carry a stable `code`.",
        ),
        validation_error_model=Problem,
        validation_error_callback=errors.invalid,
    )
    # Generators of clients know 3.1; flask-openapi says 3.2 by default.
    app.openapi_version = "3.1.0"
    app.config["MAX_CONTENT_LENGTH"] = settings.max_request_bytes
    app.extensions["service"] = _service(settings)
    requests.register(app)
    errors.register(app)
    for blueprint in (classify.blueprint, jobs.blueprint, model.blueprint, health.blueprint):
        app.register_api(blueprint)
    app.register_blueprint(metrics.blueprint)
    _serve_jobs_at_root(app)
    _serve_docs(app)
    return app


def _service(settings: Settings) -> Service:
    # As many as may speak with Redis at once; a waiting client holds none.
    redis = connect(settings.redis_url, max_connections=32)
    jobs_store = JobStore(
        redis,
        result_ttl_seconds=settings.result_ttl_seconds,
        part_deadline_seconds=settings.part_deadline_seconds,
    )
    cache = ResultCache(redis, ttl_seconds=settings.cache_ttl_seconds)
    return Service(settings, redis, jobs_store, cache)


def _serve_jobs_at_root(app: OpenAPI) -> None:
    """`/jobs/<id>` beside `/api/v1/jobs/<id>`: short to type, and what a job's address promises."""
    for rule in list(app.url_map.iter_rules()):
        if rule.endpoint.startswith("jobs."):
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
