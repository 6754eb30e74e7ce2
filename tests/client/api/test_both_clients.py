"""The two clients do the same: each test runs with both."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from client import (
    AsyncImageClassifier,
    AsyncJob,
    ImageClassifier,
    Job,
    JobEvent,
    NoAnswer,
    Retries,
    errors,
)
from tests.client.scripted_jobs import ScriptedJob, ScriptedJobs
from tests.client.scripted_server import (
    Answer,
    Cut,
    Request,
    in_order,
    refusal,
    scripted_server,
)

QUICK = Retries(total_seconds=5, first_seconds=0.001)
TABBY = {"class_id": 281, "class_name": "tabby", "probability": 0.5}
LABELS = Answer(200, {"job_id": "j", "name": "picture", "predictions": [TABBY]})

#: Runs an asynchronous program with a client of the one or the other kind, at an address.
Run: TypeAlias = Callable[[str, Callable[["Awaitable"], Any]], Any]


class Awaitable:
    """The synchronous client with the interface of the asynchronous one."""

    def __init__(self, target: Any) -> None:
        self._target = target

    @property
    def id(self) -> str:
        name: str = self._target.id
        return name

    def job(self, job_id: str) -> Awaitable:
        return Awaitable(self._target.job(job_id))

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._target, name)
        if name in ("results", "events", "jobs"):
            return lambda **options: _awaited(call(**options))

        async def awaited(*arguments: Any, **options: Any) -> Any:
            result = call(*arguments, **options)
            return Awaitable(result) if hasattr(result, "results") else result

        return awaited


async def _awaited(values: Iterator[Any]) -> AsyncIterator[Any]:
    for value in values:
        yield value


@pytest.fixture(params=[ImageClassifier, AsyncImageClassifier])
def run(request: pytest.FixtureRequest) -> Run:
    def with_client(url: str, program: Callable[[Any], Any], **options: Any) -> Any:
        options = {"retries": QUICK} | options
        if request.param is ImageClassifier:
            with ImageClassifier(url, **options) as service:
                return asyncio.run(program(Awaitable(service)))

        async def main() -> Any:
            async with AsyncImageClassifier(url, **options) as service:
                return await program(service)

        return asyncio.run(main())

    return with_client


def test_a_picture_is_classified_after_faults(run: Run) -> None:
    answers = in_order(Cut(), refusal(503, "overloaded", Retry_After="0"), LABELS)
    with scripted_server(answers) as server:
        answer = run(server.url, lambda service: service.classify(b"picture", top_k=3))
    assert answer.label == "tabby"
    assert len({each.headers["Idempotency-Key"] for each in server.requests}) == 1
    assert (
        len({each.body for each in server.requests}) == 1 and b"picture" in server.requests[0].body
    )
    assert "top_k=3" in server.requests[0].path


def test_a_label_below_min_score_is_none(run: Run) -> None:
    unsure = Answer(200, {**LABELS.body, "label": None, "below_threshold": True})
    with scripted_server(in_order(unsure)) as server:
        answer = run(server.url, lambda service: service.classify(b"picture", min_score=0.6))
    assert (answer.label, answer.below_threshold) == ("", True)
    assert answer.predictions[0].class_name == "tabby"
    assert "min_score=0.6" in server.requests[0].path


def test_a_job_carries_min_score_only_if_it_is_given(run: Run) -> None:
    """A service of an earlier release refuses an option that it does not know."""
    with scripted_server(ScriptedJobs()) as server:
        run(server.url, lambda service: service.submit([b"picture"], min_score=0.6))
        run(server.url, lambda service: service.submit([b"picture"]))
    bodies = [json.loads(each.body) for each in server.requests if each.path == "/api/v1/jobs"]
    assert [body.get("min_score", "none") for body in bodies] == [0.6, "none"]


def test_an_error_of_the_service_is_an_exception(run: Run) -> None:
    with scripted_server(in_order(refusal(415, "unsupported_format"))) as server:
        with pytest.raises(errors.UnsupportedFormat):
            run(server.url, lambda service: service.classify(b"text"))
    assert len(server.requests) == 1


def test_a_service_that_is_away_is_no_answer(run: Run) -> None:
    with pytest.raises(NoAnswer):
        soon = Retries(total_seconds=0.05, first_seconds=0.001)
        run("http://127.0.0.1:1", lambda service: service.check(), retries=soon)


def test_a_file_that_cannot_be_read_is_an_error_of_the_disk(run: Run, tmp_path: Path) -> None:
    with scripted_server(ScriptedJobs()) as server:
        for call in ("classify", "submit"):
            missing: Any = tmp_path / "gone.jpg"
            with pytest.raises(FileNotFoundError):
                argument = [missing] if call == "submit" else missing
                run(server.url, lambda service: getattr(service, call)(argument))


def test_many_pictures_are_submitted_waited_for_and_read(run: Run) -> None:
    async def program(service: Any) -> Any:
        job = await service.submit([b"picture %d" % k for k in range(100)] + [b"bad"])
        status = await job.wait(30)
        return job.id, status, [item async for item in job.results()]

    jobs = ScriptedJobs()
    with scripted_server(jobs) as server:
        job_id, status, items = run(server.url, program)
    assert (status.id, status.counts.failed) == (job_id, 1)
    assert [item.label for item in items] == ["tabby"] * 100 + [""]
    assert len(jobs.digests) == 101


def test_the_same_key_continues_the_same_job(run: Run) -> None:
    class Breaking(ScriptedJobs):
        """Refuses the second part of the first job once."""

        refused = False

        def put(self, job: ScriptedJob, number: int, body: bytes) -> Answer | Cut:
            if number == 1 and not self.refused:
                self.refused = True
                return refusal(413, "request_too_large")
            return super().put(job, number, body)

    def submit(service: Any) -> Any:
        return service.submit([b"%d" % k for k in range(40)], idempotency_key="mine")

    jobs = Breaking()
    with scripted_server(jobs) as server:
        with pytest.raises(errors.RequestTooLarge):
            run(server.url, submit)
        assert run(server.url, submit).id == "mine"
    assert len(jobs.jobs) == 1 and len(jobs.digests) == len(set(jobs.digests)) == 40


def status(state: str) -> dict[str, Any]:
    return ScriptedJobs().status("j", ScriptedJob(2)) | {"state": state}


def event(kind: str, data: Any, name: str = "") -> str:
    return f"event: {kind}\n{f'id: {name}' + chr(10) if name else ''}data: {json.dumps(data)}\n\n"


def test_events_go_on_after_a_lost_connection_without_gaps_and_repetitions(run: Run) -> None:
    items = [{"index": k, "name": f"{k}.jpg", "state": "succeeded"} for k in range(2)]
    first = "retry: 1\n\n" + event("progress", status("running")) + event("item", items[0], "1")
    first += ": keep-alive\n\nevent: item\nid: 2\nda"
    second = event("news", status("running")) + event("item", items[1], "2")
    second += event("end", status("completed"))

    async def program(service: Any) -> list[JobEvent]:
        return [each async for each in service.job("j").events(items=True)]

    streams = in_order(Answer(200, raw=first.encode()), Answer(200, raw=second.encode()))
    with scripted_server(streams) as server:
        events = run(server.url, program)
    assert [each.kind for each in events] == ["progress", "item", "news", "item", "end"]
    assert [each.item.name for each in events if each.item] == ["0.jpg", "1.jpg"]
    assert events[-1].status and events[-1].status.ended
    assert [each.headers.get("Last-Event-ID") for each in server.requests] == [None, "1"]


def test_the_events_of_an_unknown_job_are_an_exception(run: Run) -> None:
    async def program(service: Any) -> list[JobEvent]:
        return [each async for each in service.job("j").events()]

    with scripted_server(in_order(refusal(404, "job_not_found"))) as server:
        with pytest.raises(errors.JobNotFound):
            run(server.url, program)


def test_jobs_are_listed_page_by_page(run: Run) -> None:
    def script(request: Request) -> Answer:
        older = "before=j" in request.path
        page = {"jobs": [status("queued")], "next_before": None if older else "j"}
        return Answer(200, page)

    async def program(service: Any) -> list[Any]:
        return [each async for each in service.jobs()]

    with scripted_server(script) as server:
        assert len(run(server.url, program)) == 2


def test_labels_come_in_the_order_of_their_ids(run: Run) -> None:
    labels = [{"id": 0, "name": "tench"}, {"id": 1, "name": "goldfish"}]
    answer = Answer(200, {"model_version": "m", "labels": labels})
    with scripted_server(in_order(answer)) as server:
        assert run(server.url, lambda service: service.labels()) == ["tench", "goldfish"]


def test_both_clients_have_the_same_calls_and_arguments() -> None:
    for one, other in ((ImageClassifier, AsyncImageClassifier), (Job, AsyncJob)):
        names = {name for name in vars(one) if not name.startswith("_")}
        assert names == {name for name in vars(other) if not name.startswith("_")}
        for name in names:
            ours, theirs = (inspect.signature(getattr(each, name)) for each in (one, other))
            assert ours.parameters == theirs.parameters, name


def test_the_calls_of_one_event_loop_run_at_the_same_time() -> None:
    both = threading.Barrier(2)

    def script(request: Request) -> Answer:
        both.wait(30)  # until the other request is here, too
        return LABELS

    async def program(url: str) -> None:
        async with AsyncImageClassifier(url, retries=QUICK) as service:
            answers = await asyncio.gather(service.classify(b"a"), service.classify(b"b"))
            assert [each.label for each in answers] == ["tabby", "tabby"]

    with scripted_server(script) as server:
        asyncio.run(program(server.url))


def test_a_cancelled_submission_sends_nothing_more() -> None:
    held = asyncio.Event()

    class Holding(ScriptedJobs):
        def put(self, job: ScriptedJob, number: int, body: bytes) -> Answer | Cut:
            loop.call_soon_threadsafe(held.set)
            self.hold()
            return super().put(job, number, body)

    jobs = Holding()

    async def program(url: str) -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        async with AsyncImageClassifier(url, retries=QUICK) as service:
            task = asyncio.create_task(service.submit([b"%d" % k for k in range(320)]))
            await held.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        jobs.released.set()

    loop: Any = None
    with scripted_server(jobs) as server:
        asyncio.run(program(server.url))
    assert sum(each.method == "PUT" for each in server.requests) <= 4
