"""The limit on how often one client may ask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flask_openapi import OpenAPI
from redis import Redis

from shared.settings import Settings
from web.http.api_keys import line, new_key
from web.app import create_app

PATH = "/jobs/nothing"


def statuses(app: OpenAPI, count: int, **options: object) -> list[int]:
    client = app.test_client()
    return [client.get(PATH, **options).status_code for _ in range(count)]  # type: ignore[arg-type]


def test_a_client_over_its_rate_learns_when_to_return(make_app: Callable[..., OpenAPI]) -> None:
    client = make_app(rate_limit_per_minute=3).test_client()
    assert [client.get(PATH).status_code for _ in range(3)] == [404] * 3
    response = client.get(PATH)
    assert (response.status_code, response.json["code"]) == (429, "rate_limited")
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert response.content_type == "application/problem+json"


def test_another_address_is_another_client(make_app: Callable[..., OpenAPI]) -> None:
    app = make_app(rate_limit_per_minute=1)
    assert statuses(app, 2) == [404, 429]
    assert statuses(app, 2, environ_base={"REMOTE_ADDR": "192.0.2.7"}) == [404, 429]


def test_all_web_processes_count_together(make_app: Callable[..., OpenAPI]) -> None:
    first, second = make_app(rate_limit_per_minute=2), make_app(rate_limit_per_minute=2)
    assert statuses(first, 1) + statuses(second, 2) == [404, 404, 429]


def test_a_key_is_one_client_from_every_address(
    make_app: Callable[..., OpenAPI], tmp_path: Path
) -> None:
    one, two = new_key(), new_key()
    keys = tmp_path / "keys"
    keys.write_text(f"{line('one', one)}\n{line('two', two)}\n")
    app = make_app(rate_limit_per_minute=1, api_keys_file=keys)
    assert statuses(app, 1, headers={"X-API-Key": one}) == [404]
    elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
    assert statuses(app, 1, headers={"X-API-Key": one}, environ_base=elsewhere) == [429]
    assert statuses(app, 1, headers={"X-API-Key": two}) == [404]


def test_probes_are_never_limited(make_app: Callable[..., OpenAPI]) -> None:
    app = make_app(rate_limit_per_minute=1)
    assert statuses(app, 2) == [404, 429]
    client = app.test_client()
    for path in ("/livez", "/readyz", "/metrics", "/api/v1/health", "/openapi.json"):
        assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("proxies", "expected"),
    [(0, [404, 429]), (1, [404, 404])],
    ids=["a forged header is ignored", "a trusted proxy names the address"],
)
def test_only_a_trusted_proxy_may_name_the_address(
    make_app: Callable[..., OpenAPI], proxies: int, expected: list[int]
) -> None:
    app = make_app(rate_limit_per_minute=1, trusted_proxies=proxies)
    forwarded = [{"X-Forwarded-For": f"192.0.2.{k}"} for k in range(2)]
    assert [statuses(app, 1, headers=each)[0] for each in forwarded] == expected


def test_the_address_that_the_last_proxy_named_counts(make_app: Callable[..., OpenAPI]) -> None:
    app = make_app(rate_limit_per_minute=1, trusted_proxies=1)
    forged = [{"X-Forwarded-For": f"192.0.2.{k}, 198.51.100.1"} for k in range(2)]
    assert [statuses(app, 1, headers=each)[0] for each in forged] == [404, 429]


@pytest.mark.parametrize(
    "entries",
    [["192.0.2.7:1", "192.0.2.7:2"], ["192.0.2.7", "::ffff:192.0.2.7"], ["unknown", "hidden"]],
    ids=["ports", "mapped", "no address"],
)
def test_another_spelling_of_an_address_is_no_other_client(
    make_app: Callable[..., OpenAPI], entries: list[str]
) -> None:
    app = make_app(rate_limit_per_minute=1, trusted_proxies=1)
    forwarded = [{"X-Forwarded-For": entry} for entry in entries]
    assert [statuses(app, 1, headers=each)[0] for each in forwarded] == [404, 429]


def test_an_outage_is_503_with_limits_too() -> None:
    app = create_app(Settings(redis_url="redis://127.0.0.1:1/0", rate_limit_per_minute=5))
    try:
        assert statuses(app, 2) == [503, 503]
        assert app.test_client().get("/livez").status_code == 200
    finally:
        app.extensions["backend"].close()


def test_without_a_limit_nothing_is_counted(make_app: Callable[..., OpenAPI], redis: Redis) -> None:
    assert statuses(make_app(), 3) == [404] * 3
    assert not [key for key in redis.keys() if b"rate" in key]
