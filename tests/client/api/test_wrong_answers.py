"""Another program answers at the address: the login page of a network, a proxy, another service."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
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
    monkeypatch.setattr(received, "MOST_BYTES", 10_000)
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
