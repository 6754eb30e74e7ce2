"""A client sends parts as forms, unless the service says that it reads the shorter form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from client.api.parts import PART_SIZE, RAW_PART
from tests.client.api.test_both_clients import Run, run
from tests.client.scripted_jobs import ScriptedJob, ScriptedJobs, pictures_of
from tests.client.scripted_server import (
    Answer,
    Cut,
    Request,
    ScriptedServer,
    refusal,
    scripted_server,
)

__all__ = ["run"]  # a fixture

PICTURES = [b"first", b"", b"\n--third\r\n", bytes(300_000)]


def parts(server: ScriptedServer) -> list[Request]:
    return [each for each in server.requests if each.method == "PUT"]


def kinds(server: ScriptedServer) -> list[str]:
    return [each.headers["Content-Type"].partition(";")[0] for each in parts(server)]


def test_a_service_that_says_so_gets_the_bytes_alone(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "ä.jpg"
    path.write_bytes(b"from a file")
    pictures = [*PICTURES, path]
    names = [f"id {k}" for k in range(len(pictures))]
    with scripted_server(ScriptedJobs()) as server:
        run(server.url, lambda service: service.submit(pictures, custom_ids=names))
    [part] = parts(server)
    line, _, rest = part.body.partition(b"\n")
    entries = json.loads(line)
    assert kinds(server) == [RAW_PART]
    assert [entry["size"] for entry in entries] == [5, 0, 10, 300_000, 11]
    assert [entry["custom_id"] for entry in entries] == names
    assert entries[-1]["name"] == "ä.jpg"
    assert rest == b"".join(PICTURES) + b"from a file"


def test_a_service_of_an_earlier_release_gets_a_form(run: Run) -> None:
    jobs = ScriptedJobs()
    jobs.raw = False
    with scripted_server(jobs) as server:
        run(server.url, lambda service: service.submit(PICTURES))
    assert kinds(server) == ["multipart/form-data"]
    assert pictures_of(parts(server)[0].body) == PICTURES


def test_a_process_of_an_earlier_release_gets_a_form_after_its_refusal(run: Run) -> None:
    """During an upgrade, one process may open the job and another get its parts."""

    class Mixed(ScriptedJobs):
        def put(self, job: ScriptedJob, number: int, body: bytes) -> Answer | Cut:
            if body.startswith(b"["):
                return refusal(422, "no_files")
            return super().put(job, number, body)

    with scripted_server(Mixed()) as server:
        run(server.url, lambda service: service.submit(PICTURES))
    assert kinds(server) == [RAW_PART, "multipart/form-data"]
    assert pictures_of(parts(server)[1].body) == PICTURES


def test_another_refusal_is_not_repeated_as_a_form(run: Run) -> None:
    class Refusing(ScriptedJobs):
        def put(self, job: ScriptedJob, number: int, body: bytes) -> Answer | Cut:
            return refusal(422, "invalid_request")

    with scripted_server(Refusing()) as server:
        with pytest.raises(Exception, match="invalid_request"):
            run(server.url, lambda service: service.submit(PICTURES))
    assert kinds(server) == [RAW_PART]


def test_a_part_is_sent_again_from_its_beginning(run: Run, tmp_path: Path) -> None:
    class Faulty(ScriptedJobs):
        def put(self, job: ScriptedJob, number: int, body: bytes) -> Answer | Cut:
            return faults.pop(0) if faults else super().put(job, number, body)

    path = tmp_path / "a.jpg"
    path.write_bytes(bytes(600_000))
    faults: list[Answer | Cut] = [refusal(503, "overloaded", Retry_After="0"), Cut()]
    with scripted_server(Faulty()) as server:
        run(server.url, lambda service: service.submit([b"in memory", path]))
    first, second, third = parts(server)
    assert first.body == second.body == third.body
    assert pictures_of(third.body) == [b"in memory", bytes(600_000)]


def test_a_picture_that_the_cache_has_lost_is_sent_after_all(run: Run) -> None:
    class Forgetful(ScriptedJobs):
        def open(self, body: dict[str, object], key: str) -> Answer | Cut:
            answer = super().open(body, key)
            assert isinstance(answer, Answer)
            answer.body["known"] = [0, 1]
            return answer

        def put(self, job: ScriptedJob, number: int, body: bytes) -> Answer | Cut:
            if b'"digest"' in body:
                line, _, rest = body.partition(b"\n")
                seen.append(([sorted(entry) for entry in json.loads(line)], rest))
            if len(seen) == 1 and b"lost" not in body:
                problem = refusal(409, "images_needed")
                return Answer(409, problem.body | {"indexes": [0]})
            job.items = {k: {} for k in range(job.total)}
            return Answer(201, {})

    seen: list[tuple[list[list[str]], bytes]] = []
    with scripted_server(Forgetful()) as server:
        run(server.url, lambda service: service.submit([b"lost", b"cached", b"sent"]))
    named, sent = ["digest", "name"], ["name", "size"]
    assert seen == [([named, named, sent], b"sent"), ([sent, named, sent], b"lostsent")]


def test_each_part_has_its_own_pictures(run: Run) -> None:
    pictures = [b"%d" % k for k in range(PART_SIZE + 2)]
    with scripted_server(ScriptedJobs()) as server:
        run(server.url, lambda service: service.submit(pictures))
    sent = {each.path[-1]: pictures_of(each.body) for each in parts(server)}
    assert sent == {"0": pictures[:PART_SIZE], "1": pictures[PART_SIZE:]}
