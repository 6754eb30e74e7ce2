"""A web page of another site can neither read the service's answers nor change anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from pydantic import ValidationError
from werkzeug.test import TestResponse

from shared.addresses.hosts import AllowedHosts
from shared.settings import Settings
from tests.support.bodies import JPEG

PAGE = "https://app.example"
CROSS_SITE = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}

#: Each path that needs no key, and two that tell of pictures.
PATHS = ("/", "/livez", "/metrics", "/docs", "/openapi.json", "/api/v1/health", "/nope")
PATHS += ("/page/main.js", "/jobs/nothing", "/api/v1/dead-letters")


def outcome(response: TestResponse) -> tuple[int, str]:
    return response.status_code, response.json["code"]


@pytest.mark.parametrize("path", PATHS)
def test_a_name_that_is_not_ours_is_refused_at_every_path(client: FlaskClient, path: str) -> None:
    """A page whose own name leads here (DNS rebinding) could read every other answer."""
    response = client.get(path, headers={"Host": "evil.example:8000"})
    assert outcome(response) == (400, "host_not_allowed")
    assert "evil.example" in response.json["detail"]
    assert "ALLOWED_HOSTS" in response.json["detail"]
    assert "X-Request-Id" in response.headers


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST:8000", "localhost.:8000", "app.localhost", "127.0.0.1:8000"),
        *("[::1]:8000", "[::1]", "192.168.1.7", "10.1.2.3:8000", "[fd00::7]:80"),
    ],
)
def test_this_machine_and_every_address_are_answered(client: FlaskClient, host: str) -> None:
    """Probes and scrapes of Kubernetes and Prometheus use addresses."""
    assert client.get("/metrics", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("localhost.evil.example", "127.0.0.1.evil.example", "evillocalhost", "evil.example."),
        *("web:8000", "1.2.3", "."),
    ],
)
def test_names_that_resemble_ours_are_refused(client: FlaskClient, host: str) -> None:
    assert client.get("/metrics", headers={"Host": host}).status_code == 400


def test_a_request_without_a_host_is_answered(client: FlaskClient) -> None:
    """Old probes send none, and no browser does so."""
    assert client.get("/livez", environ_overrides={"HTTP_HOST": None}).status_code == 200
    assert AllowedHosts([]).allow(None) and AllowedHosts([]).allow("")


def test_a_setting_allows_more_names(make_app: Callable[..., OpenAPI]) -> None:
    client = make_app(allowed_hosts="Classifier.lan, *.example.com", host="gpu-box").test_client()

    def status(host: str) -> int:
        return client.get("/livez", headers={"Host": host}).status_code

    allowed = ("classifier.lan", "CLASSIFIER.lan:80", "a.example.com", "b.a.example.com:8000")
    assert {status(host) for host in (*allowed, "gpu-box:8000", "localhost", "10.0.0.1")} == {200}
    assert {status(host) for host in ("example.com", "aexample.com", "lan", "other.lan")} == {400}


def test_a_star_allows_every_name(make_app: Callable[..., OpenAPI]) -> None:
    client = make_app(allowed_hosts="*").test_client()
    assert client.get("/livez", headers={"Host": "any.example"}).status_code == 200


def test_with_keys_every_name_is_ours_unless_the_setting_says_which(
    make_app: Callable[..., OpenAPI], tmp_path: Path
) -> None:
    """A page of another site has no key. So the host name of a deployment needs no setting."""
    keys = tmp_path / "keys"
    keys.write_text("")
    headers = {"Host": "classifier.example.com"}
    client = make_app(api_keys_file=keys).test_client()
    assert client.get("/livez", headers=headers).status_code == 200
    assert outcome(client.get("/jobs/nothing", headers=headers)) == (401, "not_authenticated")
    strict = make_app(api_keys_file=keys, allowed_hosts="other.example.com").test_client()
    assert strict.get("/livez", headers=headers).status_code == 400


@pytest.mark.parametrize("names", ["http://a.example", "a.example:8000", "a b", "*.*.example"])
def test_a_list_that_is_not_of_names_stops_the_start(
    names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", names)
    with pytest.raises(ValidationError, match="host names without a scheme or a port"):
        Settings()


def test_lists_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", " A.example,b.example ,")
    monkeypatch.setenv("ALLOWED_ORIGINS", "https://A.example/,http://b.example:3000")
    settings = Settings()
    assert settings.allowed_hosts == ("a.example", "b.example")
    assert settings.allowed_origins == ("https://a.example", "http://b.example:3000")
    monkeypatch.setenv("ALLOWED_HOSTS", "")
    monkeypatch.setenv("ALLOWED_ORIGINS", "a.example")
    with pytest.raises(ValidationError, match="origins such as https://example.com"):
        Settings()
    monkeypatch.delenv("ALLOWED_ORIGINS")
    assert Settings().allowed_hosts is None


# Requests that change something


def send(client: FlaskClient, method: str, path: str, headers: dict[str, str]) -> TestResponse:
    return client.open(path, method=method, data=JPEG, headers=headers)


WRITES = [
    ("POST", "/api/v1/classify?wait=0"),
    ("POST", "/jobs"),
    ("PUT", "/jobs/nothing/parts/0"),
    ("DELETE", "/jobs/nothing"),
    ("POST", "/api/v1/dead-letters/a/retry"),
    ("PATCH", "/nope"),
]

#: What a browser sends for a page of another site, of another port, or of no site at all. To an
#: address without TLS it sends `Origin` alone.
FOREIGN: list[dict[str, str]] = [
    CROSS_SITE,
    {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://localhost:3000"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize(("method", "path"), WRITES)
def test_another_site_changes_nothing(
    client: FlaskClient, method: str, path: str, headers: dict[str, str]
) -> None:
    response = send(client, method, path, headers)
    assert outcome(response) == (403, "cross_site")
    assert "ALLOWED_ORIGINS" in response.json["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {},  # every client that is no browser
        {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://proxy.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://localhost"},
        {"Origin": "http://192.168.1.7:8000", "Host": "192.168.1.7:8000"},
        {"Origin": "http://localhost", "Host": "localhost:80"},
        {"Origin": "https://localhost", "Host": "localhost:443"},
    ],
)
def test_our_own_page_and_programs_are_served(client: FlaskClient, headers: dict[str, str]) -> None:
    assert send(client, "POST", "/api/v1/classify?wait=0", headers).status_code == 202
    assert send(client, "DELETE", "/jobs/nothing", headers).status_code == 404


def test_another_site_may_link_to_us(client: FlaskClient) -> None:
    assert client.get("/", headers=CROSS_SITE).status_code == 200
    assert client.head("/", headers=CROSS_SITE).status_code == 200


# Sharing with pages that are allowed (CORS)


@pytest.fixture
def shared(make_app: Callable[..., OpenAPI]) -> FlaskClient:
    return make_app(allowed_origins=f"{PAGE},http://localhost:3000").test_client()


def test_nothing_is_shared_by_default(client: FlaskClient) -> None:
    headers = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    for response in (
        client.get("/livez", headers=headers),
        client.options("/jobs", headers=headers),
    ):
        assert not [name for name, _ in response.headers if name.startswith("Access-Control")]


def test_a_preflight_of_an_allowed_page_names_all_that_a_client_sends(shared: FlaskClient) -> None:
    headers = {
        "Origin": PAGE,
        "Sec-Fetch-Site": "cross-site",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization,idempotency-key",
    }
    response = shared.options("/jobs/some/parts/0", headers=headers)
    assert (response.status_code, response.data) == (204, b"")
    assert response.headers["Access-Control-Allow-Origin"] == PAGE
    assert {"PUT", "POST", "DELETE"} <= words(response, "Access-Control-Allow-Methods")
    assert {"Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Prefer"} <= words(
        response, "Access-Control-Allow-Headers"
    )
    assert response.headers["Vary"] == "Origin"


def words(response: TestResponse, name: str) -> set[str]:
    return set(response.headers[name].split(", "))


def test_an_allowed_page_sends_a_picture_and_reads_the_answer(shared: FlaskClient) -> None:
    headers = {"Origin": PAGE, "Sec-Fetch-Site": "cross-site"}
    response = send(shared, "POST", "/api/v1/classify?wait=0", headers)
    assert response.status_code == 202
    assert response.headers["Access-Control-Allow-Origin"] == PAGE
    exposed = words(response, "Access-Control-Expose-Headers")
    assert {"Location", "Retry-After", "X-Request-Id"} <= exposed


def test_an_allowed_page_reads_errors_too(make_app: Callable[..., OpenAPI], tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("")
    guarded = make_app(api_keys_file=keys, allowed_origins=PAGE).test_client()
    refused = guarded.get("/jobs/nothing", headers={"Origin": PAGE})
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == PAGE
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    assert guarded.options("/jobs", headers=asked).status_code == 204  # it carries no key


def test_other_pages_stay_shut_out(shared: FlaskClient) -> None:
    assert send(shared, "POST", "/jobs", CROSS_SITE).status_code == 403
    for response in (
        shared.get("/livez", headers=CROSS_SITE),
        shared.options("/jobs", headers=CROSS_SITE | {"Access-Control-Request-Method": "POST"}),
    ):
        assert "Access-Control-Allow-Origin" not in response.headers
        assert response.headers["Vary"] == "Origin"  # a cache must not give it to an allowed page


def test_a_star_allows_the_pages_of_every_site(make_app: Callable[..., OpenAPI]) -> None:
    open_to_all = make_app(allowed_origins="*").test_client()
    response = send(open_to_all, "POST", "/api/v1/classify?wait=0", CROSS_SITE)
    assert response.status_code == 202
    assert response.headers["Access-Control-Allow-Origin"] == CROSS_SITE["Origin"]


def test_the_document_of_the_api_names_both_refusals(client: FlaskClient) -> None:
    paths = client.get("/openapi/openapi.json").json["paths"]
    for path in paths.values():
        for method, operation in path.items():
            problem = "application/problem+json"
            assert problem in operation["responses"]["400"]["content"]
            if method not in ("get", "head"):
                assert problem in operation["responses"]["403"]["content"]
