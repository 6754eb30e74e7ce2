"""`/`: the page for people. web/page/ holds it as a browser gets it."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, render_template

from shared.settings import Settings
from web.submit.service import service

blueprint = Blueprint(
    "page",
    __name__,
    template_folder="../page",
    static_folder="../page/static",
    static_url_path="/page",
)

#: All of it comes from here. Small pictures are blobs that the page makes itself; it sets widths by
#: script, which needs no inline style.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'"
)


@blueprint.get("/")
def index() -> Response:
    """The page. It holds no secrets: what it shows, it asks for, with a key where one is needed."""
    settings = service().settings
    response = current_app.make_response(
        render_template(
            "index.html", links=_links(settings), max_image_bytes=settings.max_image_bytes
        )
    )
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Cache-Control"] = "no-cache"
    return response


def _links(settings: Settings) -> list[tuple[str, str]]:
    tools = {
        "API": "docs",
        "Reference": "redoc",
        "Flower": settings.flower_url,
        "Grafana": settings.grafana_url,
        "Kibana": settings.kibana_url,
    }
    return [(name, address) for name, address in tools.items() if address]
