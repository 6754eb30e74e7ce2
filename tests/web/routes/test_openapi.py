"""The OpenAPI document: names, examples and error codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.web.routes.test_api import REFUSALS
from web.schemas.problem import Problem

Operation = dict[str, Any]


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    read: dict[str, Any] = client.get("/openapi.json").json
    return read


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    for path in document["paths"].values():
        yield from path.values()


def contents(operation: Operation) -> Iterator[dict[str, Any]]:
    for answer in operation["responses"].values():
        yield from answer["content"].values()


def test_each_call_has_a_short_name_of_its_own(document: dict[str, Any]) -> None:
    names = [each["operationId"] for each in operations(document)]
    assert sorted(names) == sorted(
        [
            *("cancelJob", "classify", "createJob", "followJob", "getHealth", "getJob"),
            *(
                "getLiveness",
                "getModel",
                "getReadiness",
                "getResults",
                "getThumbnail",
                "getWebhook",
            ),
            *("listDeadLetters", "listJobs", "listLabels", "listMissingParts", "putPart"),
            *("cancelAnyJob", "deleteDeadLetter", "getAnyJob", "listAllDeadLetters", "listAllJobs"),
            *("listLanes", "listWorkers", "purgeLane", "retryAnyDeadLetter", "retryDeadLetter"),
            *("getUsage", "setLaneState"),
        ]
    )


def test_each_call_is_in_a_group_that_is_described(document: dict[str, Any]) -> None:
    described = {tag["name"]: tag["description"] for tag in document["tags"]}
    for each in operations(document):
        [group] = each["tags"]
        assert described[group], each["operationId"]


def test_summaries_are_short_and_no_text_has_html(document: dict[str, Any]) -> None:
    for each in operations(document):
        assert each["summary"].endswith(".") and len(each["summary"]) < 90
        assert not set(each["summary"]) & set("`*<>_"), each["summary"]
        assert "<" not in each.get("description", "") and "\n " not in each.get("description", "")


def test_each_call_has_a_named_example_of_its_answer(document: dict[str, Any]) -> None:
    for each in operations(document):
        answers = [each["responses"][status] for status in each["responses"] if status[0] == "2"]
        examples = [
            example
            for answer in answers
            for content in answer["content"].values()
            for example in content.get("examples", {}).values()
        ]
        assert all(example["summary"] for example in examples), each["operationId"]
        is_picture = any("image/jpeg" in answer["content"] for answer in answers)
        assert examples or is_picture, each["operationId"]


def test_examples_of_errors_are_errors_as_they_are_answered(document: dict[str, Any]) -> None:
    for each in operations(document):
        for status, answer in each["responses"].items():
            problems = answer["content"].get("application/problem+json", {})
            for code, example in problems.get("examples", {}).items():
                problem = Problem.model_validate(example["value"])
                assert (problem.status, problem.code) == (int(status), code)
                assert f"`{code}`" in answer["description"]


def test_each_refusal_is_among_the_errors_of_its_call(document: dict[str, Any]) -> None:
    for case, (path, _, status, code) in REFUSALS.items():
        path = "/api/v1/jobs" if path.startswith("/jobs") else path.partition("?")[0]
        answer = document["paths"][path]["post"]["responses"][str(status)]
        assert code in answer["content"]["application/problem+json"]["examples"], case


def test_each_reference_leads_to_a_schema(document: dict[str, Any]) -> None:
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= schemas


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for each in part.values():
            yield from references(each)
    elif isinstance(part, list):
        for each in part:
            yield from references(each)
