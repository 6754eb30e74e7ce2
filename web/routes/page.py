"""`/`: the page for people. The folder web/page/ holds its files."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, render_template

from shared.formats import ENDINGS
from shared.settings import Settings
from web.routes.backend import backend

blueprint = Blueprint(
    "page",
    __name__,
    template_folder="../page",
    static_folder="../page/static",
    static_url_path="/page",
)

#: All parts of the page come from here. Thumbnails are blobs that the page makes. Its script sets
#: widths, which needs no inline style.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'"
)


@blueprint.get("/")
def index() -> Response:
    """The page. It holds no secrets. It requests all that it shows, with a key if keys are on."""
    settings = backend().settings
    response = current_app.make_response(
        render_template(
            "index.html",
            links=_links(settings),
            max_image_bytes=settings.max_image_bytes,
            endings=",".join(ENDINGS),
        )
    )
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Cache-Control"] = "no-cache"
    return response


def _links(settings: Settings) -> list[tuple[str, str]]:
    tools = {
        "API": "docs",
        "Flower": settings.flower_url,
        "Grafana": settings.grafana_url,
        "Kibana": settings.kibana_url,
    }
    return [(name, address) for name, address in tools.items() if address]
