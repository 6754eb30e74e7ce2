"""Another program answers at the address: the login page of a network, a proxy, another service."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from client import AsyncImageClassifier, ImageClassifier, NoAnswer, Retries, errors
from client.api.transport import received
from client.api.operator import Operator
from client.cli.command import main
from client.cli.exits import Exit
from tests.client.scripted_server import Answer, in_order, scripted_server

PAGE = Answer(200, raw=b"<html>Please log in</html>", headers={"Content-Type": "text/html"})
ANSWERS = {
    "page": PAGE,
    "nothing": Answer(200, raw=b""),
    "list": Answer(200, [1, 2]),
    "other fields": Answer(200, {}),
    "nested": Answer(200, raw=b"[" * 200_000),
    "refusal": Answer(422, {"code": "images_needed", "indexes": 5}),
}
CALLS: dict[str, Callable[[ImageClassifier], Any]] = {
    "classify": lambda service: service.classify(b"picture"),
    "submit": lambda service: service.submit([b"picture"]),
    "status": lambda service: service.job("j").status(),
    "results": lambda service: list(service.job("j").results()),
    "embeddings": lambda service: list(service.job("j").results(embeddings=True)),
    "jobs": lambda service: list(service.jobs()),
    "usage": lambda service: service.usage(),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_each_call_says_that_the_answer_is_not_of_the_service(
    answer: Answer, call: Callable[[ImageClassifier], Any]
) -> None:
    if call is CALLS["embeddings"] and answer is ANSWERS["nothing"]:
        return  # so does a job without items
    with scripted_server(in_order(answer)) as server, ImageClassifier(server.url) as service:
        with pytest.raises(errors.WrongAnswer, match=rf"^{server.url} answers, but not as"):
            call(service)


COUNTS = {"total": 1, "queued": 0, "succeeded": 1, "failed": 0}
JOB = dict.fromkeys(["created_at", "started_at", "finished_at", "expires_at"], 0.0)
JOB |= {"id": "j", "state": "completed", "lane": "bulk", "top_k": 5, "model_version": "m"}
JOB |= {"counts": COUNTS}
ITEM = {"index": 0, "name": "a", "state": "succeeded", "labels": ["cat"], "model_version": "m"}
ITEM |= {"predictions": [{"class_id": 1, "class_name": "cat", "probability": 0.5}]}
ITEM |= {"durations": {"queue_ms": 1, "preprocess_ms": 1, "inference_ms": 1}}
RIGHT: dict[str, dict[str, Any]] = {
    "classify": ITEM | {"job_id": "j"},
    "submit": {"job": JOB, "part_size": 32, "known": []},
    "status": JOB,
    "results": {"items": [ITEM], "next_offset": None},
    "embeddings": ITEM,
    "jobs": {"jobs": [JOB], "next_before": None},
    "usage": dict.fromkeys(["bytes_held", "bytes_kept", "images_today"], 0)
    | {"client": "c", "outstanding_images": {"bulk": 1}, "limits": {"images": 5}, "day_ends_at": 0},
}
WRONG: list[Any] = [5, "five", {}, {"a": {}}, [[]], None, 1e300]


def mutations(value: Any) -> Iterator[Any]:
    """The same JSON with another value at each place."""
    if isinstance(value, list):
        yield from ([each] for inside in value for each in mutations(inside))
    elif isinstance(value, dict):
        for name, inside in value.items():
            yield from (value | {name: each} for each in mutations(inside))
    yield from (each for each in WRONG if each != value)


@pytest.mark.parametrize("name", RIGHT)
def test_a_field_with_a_value_of_another_type_ends_nothing_with_a_traceback(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_text("picture")
    arguments = {"classify": [str(tmp_path / "a.jpg")], "status": ["j"], "usage": []}
    answers = [RIGHT[name]]
    with scripted_server(lambda request: Answer(200, answers[-1])) as server:
        with ImageClassifier(server.url, retries=Retries(total_seconds=0)) as service:
            for answer in mutations(RIGHT[name]):
                answers.append(answer)
                with suppress(errors.WrongAnswer):
                    CALLS[name](service)
                if name in arguments:
                    assert main(["--url", server.url, name, *arguments[name]]) in Exit


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        ("results", {"items": 5, "next_offset": None}),
        ("results", {"items": [ITEM | {"labels": "cat"}], "next_offset": None}),
        ("results", {"items": [ITEM | {"error": {}}], "next_offset": None}),
        ("results", {"items": [ITEM], "next_offset": 0}),  # it would be read for ever
        ("results", {"items": [ITEM | {"index": 7}], "next_offset": None}),
        ("jobs", {"jobs": [], "next_before": "j"}),
        ("status", JOB | {"counts": COUNTS | {"total": "1"}}),
        ("status", JOB | {"expires_at": 1e300}),
        ("classify", RIGHT["classify"] | {"labels": [{}]}),
        ("submit", {"job": {"id": {}}, "part_size": 32, "known": []}),
    ],
)
def test_a_wrong_type_is_found_where_the_answer_is_read(call: str, wrong: dict[str, Any]) -> None:
    with scripted_server(in_order(Answer(200, wrong))) as server:
        with ImageClassifier(server.url) as service, pytest.raises(errors.WrongAnswer):
            CALLS[call](service)


@pytest.mark.parametrize("action", ["jobs", "lanes", "dead-letters", "workers"])
@pytest.mark.parametrize("wrong", [5, {"a": 5}, [5], [{"id": []}]])
def test_a_wrong_type_ends_the_command_of_an_operator_in_one_line(
    action: str, wrong: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = {action.replace("-", "_"): wrong, "next_before": None}
    with scripted_server(in_order(Answer(200, answer))) as server:
        assert main(["--url", server.url, "operator", action]) == Exit.SERVICE
    [line] = capsys.readouterr().err.splitlines()
    assert "answers, but not as an image classifier" in line


def test_the_asynchronous_client_says_so_too() -> None:
    async def main(url: str) -> None:
        async with AsyncImageClassifier(url) as service:
            with pytest.raises(errors.WrongAnswer):
                await service.usage()
            with pytest.raises(errors.WrongAnswer):
                async for _ in service.job("j").results():
                    pass

    with scripted_server(in_order(PAGE)) as server:
        asyncio.run(main(server.url))


def test_an_operator_hears_of_it_too() -> None:
    with scripted_server(in_order(PAGE)) as server, ImageClassifier(server.url) as service:
        with pytest.raises(errors.WrongAnswer):
            Operator(service.connection).lanes()


def test_the_command_ends_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted_server(in_order(PAGE)) as server:
        assert main(["--url", server.url, "status", "j"]) == Exit.SERVICE
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"image-classifier: {server.url} answers, but not as an image classifier"
    )


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (Answer(404, raw=b"<h1>Not found</h1>"), True),  # as most programs at a wrong port
        (Answer(405, {"detail": "Method Not Allowed"}), True),
        (Answer(413, raw=b"<h1>nginx</h1>"), False),
        (Answer(404, {"code": "job_not_found", "detail": "There is no such job."}), False),
    ],
)
def test_a_refusal_by_another_program_names_the_address(answer: Answer, named: bool) -> None:
    with scripted_server(in_order(answer)) as server, ImageClassifier(server.url) as service:
        with pytest.raises(errors.Refused) as raised:
            service.usage()
        assert (f"{server.url} answers, but not as" in str(raised.value)) is named


def test_a_mistake_of_the_caller_stays_one() -> None:
    with ImageClassifier("http://127.0.0.1:1") as service, pytest.raises(ValueError):
        service.submit([b"picture"], custom_ids=["one", "too many"])


def test_an_answer_that_cannot_be_unpacked_is_no_answer() -> None:
    packed = Answer(200, raw=b"not packed", headers={"Content-Encoding": "gzip"})
    retries = Retries(total_seconds=0)
    with scripted_server(in_order(packed)) as server:
        with ImageClassifier(server.url, retries=retries) as service, pytest.raises(NoAnswer):
            service.usage()


@pytest.mark.parametrize("packed", [False, True])
def test_a_body_without_an_end_does_not_fill_the_memory(
    packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(received, "LONGEST_BODY", 10_000)
    body = b" " * 2_000_000
    headers = {"Content-Encoding": "gzip"} if packed else {}
    answer = Answer(200, raw=gzip.compress(body) if packed else body, headers=headers)

    async def ask(url: str) -> None:
        async with AsyncImageClassifier(url) as service:
            await service.usage()

    with scripted_server(in_order(answer)) as server, ImageClassifier(server.url) as service:
        with pytest.raises(errors.WrongAnswer, match="more than 10000 bytes"):
            service.usage()
        with pytest.raises(errors.WrongAnswer, match="more than 10000 bytes"):
            asyncio.run(ask(server.url))


def test_a_packed_answer_is_read() -> None:
    body = gzip.compress(b'{"labels": [{"name": "cat"}]}')
    packed = Answer(200, raw=body, headers={"Content-Encoding": "gzip"})
    with scripted_server(in_order(packed)) as server, ImageClassifier(server.url) as service:
        assert service.labels() == ["cat"]
