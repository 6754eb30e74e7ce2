"""Who may operate the service, and what the log says of it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from flask_openapi import OpenAPI

from tests.monitoring.log_lines import template_fields
from tests.web.routes.operator.conftest import Caller

CALLS = [
    ("GET", "/operator/jobs", None),
    ("GET", "/operator/jobs/x", None),
    ("DELETE", "/operator/jobs/x", None),
    ("GET", "/operator/lanes", None),
    ("PUT", "/operator/lanes/bulk", {"state": "open"}),
    ("POST", "/operator/lanes/bulk/purge", {}),
    ("GET", "/operator/dead-letters", None),
    ("POST", "/operator/dead-letters/x:0:1/retry", None),
    ("DELETE", "/operator/dead-letters/x:0:1", None),
    ("GET", "/operator/workers", None),
]


def test_the_list_has_every_call(make_app: Callable[..., OpenAPI]) -> None:
    rules = [each for each in make_app().url_map.iter_rules() if "/operator/" in each.rule]
    assert len(rules) == len(CALLS)


@pytest.mark.parametrize("method, path, body", CALLS)
def test_a_call_needs_the_scope_operate(
    method: str, path: str, body: object, root: Caller, alice: Caller
) -> None:
    refused = alice(method, path, json=body) if body is not None else alice(method, path)
    assert (refused.status_code, refused.json["code"]) == (403, "forbidden")
    answered = root(method, path, json=body) if body is not None else root(method, path)
    assert answered.status_code in (200, 404), answered.json


def test_the_key_of_an_operator_alone_classifies_nothing(root: Caller) -> None:
    assert root("POST", "/classify", data=b"x").status_code == 403
    assert root("GET", "/jobs").status_code == 403


@pytest.mark.parametrize(
    "address, header, status",
    [
        ("127.0.0.1", None, 200),
        ("::1", None, 200),
        ("10.0.0.7", None, 403),
        ("127.0.0.1", "X-Forwarded-For", 403),
        ("127.0.0.1", "Forwarded", 403),
        ("127.0.0.1", "X-Real-IP", 403),
        ("127.0.0.1", "Via", 403),
    ],
)
def test_without_keys_only_clients_of_the_same_machine_may_operate(
    make_app: Callable[..., OpenAPI], address: str, header: str | None, status: int
) -> None:
    headers = {header: "127.0.0.1"} if header else {}
    for trusted in (0, 1):
        client = make_app(trusted_proxies=trusted).test_client()
        response = client.get(
            "/api/v1/operator/lanes", headers=headers, environ_base={"REMOTE_ADDR": address}
        )
        assert response.status_code == status, (trusted, response.json)


def test_each_call_is_in_the_log_with_the_name_of_its_key(
    root: Caller, alice: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        root("PUT", "/operator/lanes/bulk", json={"state": "paused", "reason": "disk"}).close()
        alice("DELETE", "/operator/jobs/x").close()
    audit = [r for r in caplog.records if vars(r).get("event.dataset") == "classifier.audit"]
    assert [each.getMessage() for each in audit] == [
        "operator call by key root: PUT /api/v1/operator/lanes/bulk: 200, state=paused reason=disk",
        "operator call by key alice: DELETE /api/v1/operator/jobs/x: 403",
    ]
    fields = {"event.action": "set_lane_state", "url.path": "/api/v1/operator/lanes/bulk"}
    assert fields.items() <= vars(audit[0]).items()
    assert template_fields() >= {name for name in vars(audit[0]) if "." in name}
