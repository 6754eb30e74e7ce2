"""A request with an option that changes its job is another one, so its key does not answer it.

The options come from the schemas, so that a new one cannot be forgotten.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from redis import Redis
from werkzeug.test import TestResponse

from shared import keys
from tests.support.bodies import JPEG
from web.schemas.schema import Request
from web.schemas.submission import (
    ClassifyForm,
    ClassifyQuery,
    OpenRequest,
    SubmitForm,
    SubmitQuery,
)

#: A value for each option that is not its default. A new option needs one here.
VALUES: dict[str, Any] = {
    "top_k": 3,
    "min_score": 0.5,
    "embeddings": True,
    "thumbnails": True,
    "lane": "interactive",
    "webhook": "http://127.0.0.1:9999/hook",
    "custom_id": ["a", "b"],
    "total": 41,
    "digests": ["0" * 64] * 40,
}

#: These options change only how long the answer takes. Pictures are no options.
NOT_COUNTED = {"wait", "file", "files"}


class Call(NamedTuple):
    path: str
    query: type[Request]  #: The options of its address.
    fields: type[Request] | None = None  #: Those of its form or JSON.
    body: Any = b""  #: The files of the form, the JSON, or the body itself.
    refused: frozenset[str] = frozenset()

    def options(self) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Each option, and how it stands in the address, and in the form or JSON."""
        for name in self.query.model_fields.keys() - NOT_COUNTED:
            if f"?{name}" not in self.refused:
                yield f"?{name}", {name: VALUES[name]}, {}
        for name in self.fields.model_fields.keys() - NOT_COUNTED if self.fields else ():
            if name not in self.refused:
                yield name, {}, {name: VALUES[name]}

    def ask(
        self,
        client: FlaskClient,
        query: Mapping[str, Any] = MappingProxyType({}),
        fields: Mapping[str, Any] = MappingProxyType({}),
    ) -> TestResponse:
        sent: dict[str, Any]
        if self.fields is None:
            sent = {"data": self.body, "content_type": "application/octet-stream"}
        elif self.fields is OpenRequest:
            sent = {"json": {**self.body, **fields}}
        else:
            files = [(io.BytesIO(data), f"{k}") for k, data in enumerate(self.body)]
            name = "file" if self.fields is ClassifyForm else "files"
            sent = {"data": {name: files, **fields}}
        headers = {"Idempotency-Key": "k"}
        return client.post(self.path, query_string=dict(query), headers=headers, **sent)


def _archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as members:
        members.writestr(zipfile.ZipInfo("1.jpg"), JPEG)
    return file.getvalue()


_IN_BODY = frozenset({"?top_k", "?min_score"})

CALLS = {
    "picture": Call("/api/v1/classify", ClassifyQuery, None, JPEG),
    "form of a picture": Call("/api/v1/classify", ClassifyQuery, ClassifyForm, [JPEG]),
    "form": Call("/jobs", SubmitQuery, SubmitForm, [JPEG, JPEG], _IN_BODY),
    "archive": Call("/jobs", SubmitQuery, None, _archive()),
    "form of an archive": Call(
        "/jobs", SubmitQuery, SubmitForm, [_archive()], _IN_BODY | {"custom_id"}
    ),
    "opening": Call("/jobs", SubmitQuery, OpenRequest, {"total": 40}, _IN_BODY),
}
MAKE_JOBS = [call for call in CALLS.values() if call.query is SubmitQuery]


@pytest.fixture
def client(make_app: Callable[..., OpenAPI]) -> FlaskClient:
    return make_app(wait_seconds=0, webhooks=True, webhook_allow_private=True).test_client()


def job_id(answer: TestResponse) -> str:
    assert answer.status_code in (201, 202), answer.text
    return str(answer.json.get("job", answer.json)["id"])


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_same_key_with_another_option_is_refused(client: FlaskClient, call: Call) -> None:
    first = job_id(call.ask(client))
    answers = {name: call.ask(client, query, fields) for name, query, fields in call.options()}
    codes = {name: answer.json.get("code", answer.text) for name, answer in answers.items()}
    assert codes == dict.fromkeys(codes, "idempotency_key_reused")
    assert len(codes) >= 3 and job_id(call.ask(client)) == first


@pytest.mark.parametrize("call", MAKE_JOBS)
def test_a_key_from_before_thumbnails_were_counted_gives_its_job(
    client: FlaskClient, redis: Redis, call: Call
) -> None:
    without = job_id(call.ask(client))
    claim = keys.idempotency("", "k")
    stored: Any = redis.getdel(claim)
    fingerprint = stored.decode().split()[1]
    with_thumbnails = {"thumbnails": True}
    kept = job_id(call.ask(client, with_thumbnails))
    redis.set(claim, f"{kept} {fingerprint}")
    assert job_id(call.ask(client, with_thumbnails)) == kept

    redis.set(claim, f"{without} {fingerprint}")
    assert call.ask(client, with_thumbnails).status_code == 422
