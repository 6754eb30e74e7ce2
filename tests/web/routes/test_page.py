"""The page as the web process serves it. tests/page has what a browser does with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from pydantic import ValidationError

from shared.settings import Settings

_FOLDER = Path(__file__).parents[3] / "web/page/static"
_PARTS = sorted(path for path in _FOLDER.rglob("*") if path.is_file())


def test_a_browser_may_run_nothing_but_our_own_files(client: FlaskClient) -> None:
    policy = client.get("/").headers["Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in policy


@pytest.mark.parametrize("part", [str(part.relative_to(_FOLDER)) for part in _PARTS])
def test_every_part_of_the_page_is_served_with_its_type(client: FlaskClient, part: str) -> None:
    kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    kinds |= {"jpg": "image/jpeg", "txt": "text/plain"}
    with client.get(f"/page/{part}") as answer:
        assert answer.status_code == 200
        assert answer.mimetype == kinds[part.rpartition(".")[2]]
        # After an upgrade a browser must not mix old modules with new ones.
        assert answer.headers["Cache-Control"] == "no-cache"


def test_the_page_asks_nothing_of_another_host(client: FlaskClient) -> None:
    texts = [client.get("/").text, *(part.read_text() for part in _PARTS if part.suffix != ".jpg")]
    addresses = {each for text in texts for each in re.findall(r"https?://[^\s\"'`)]+", text)}
    assert addresses <= {"http://www.w3.org/2000/svg"}  # the name of a language


def test_the_page_calls_a_probability_by_one_word(client: FlaskClient) -> None:
    texts = [client.get("/").text, *(part.read_text() for part in _PARTS if part.suffix == ".js")]
    assert not [each for each in texts if re.search("confiden", each, re.IGNORECASE)]


def test_it_links_to_the_tools_that_are_configured(make_app: Callable[..., OpenAPI]) -> None:
    bare = make_app().test_client().get("/").text
    assert 'href="docs"' in bare and "redoc" not in bare and "Grafana" not in bare
    full = make_app(
        flower_url="http://flower.example:5555",
        grafana_url="https://grafana.example/d/service?a=1&b=2",
        kibana_url="https://kibana.example",
    )
    page = full.test_client().get("/").text
    assert '<a href="http://flower.example:5555">Flower</a>' in page
    assert '<a href="https://grafana.example/d/service?a=1&amp;b=2">Grafana</a>' in page
    assert '<a href="https://kibana.example">Kibana</a>' in page


def test_a_link_that_is_a_script_is_no_setting() -> None:
    with pytest.raises(ValidationError, match="grafana_url"):
        Settings(grafana_url="javascript:alert(1)")


def test_the_page_needs_no_key_and_its_calls_do(
    make_app: Callable[..., OpenAPI], tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("")
    client = make_app(api_keys_file=keys).test_client()
    assert client.get("/").status_code == 200
    with client.get("/page/main.js") as part:
        assert part.status_code == 200
    assert client.get("/jobs/some").status_code == 401


_BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def test_a_browser_at_an_unknown_address_gets_a_page_with_a_way_back(client: FlaskClient) -> None:
    answer = client.get("/no/such/page", headers={"Accept": _BROWSER})
    assert (answer.status_code, answer.mimetype) == (404, "text/html")
    assert "There is nothing at this address" in answer.text
    assert 'href="/"' in answer.text and 'href="/page/page.css"' in answer.text
    assert answer.vary.as_set() == {"accept"}
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'; style-src 'self'" in policy and "script-src" not in policy


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/no/such/page", "*/*"),
        ("/no/such/page", "application/json"),
        ("/no/such/page", "application/problem+json, text/html"),
        ("/no/such/page", ""),
        ("/api/v1/nothing", _BROWSER),
        ("/jobs/nothing", _BROWSER),
    ],
)
def test_clients_of_the_api_get_a_problem_as_json(
    client: FlaskClient, path: str, accept: str
) -> None:
    answer = client.get(path, headers={"Accept": accept})
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")
    assert answer.json and answer.json["status"] == 404
