"""Users with different habits, for Locust. `python -m loadtest.people` also starts a service.

    locust -f loadtest/people/locustfile.py --headless --host URL --pictures FOLDER \\
        --shape spike --users 40 --run-time 5m --html report.html

Locust exits with 1 where more requests fail than `--most-failures` allows, or where the p95 is
above `--most-p95-ms`. A refusal (429, 503) counts as a failure here, because these users do not try
again.
"""

from __future__ import annotations

import itertools
import json
import random
import time
import uuid
from pathlib import Path
from typing import Any

from locust import HttpUser, LoadTestShape, between, events, task
from locust.argument_parser import LocustArgumentParser
from locust.clients import ResponseContextManager
from locust.env import Environment

from loadtest.measure.pictures import read_pictures
from loadtest.people.shapes import SHAPES, people

_POLL_SECONDS = 0.5

#: The share of requests with a picture that was sent before.
_REPEATED_SHARE = 0.1


@events.init_command_line_parser.add_listener
def _options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--pictures", required=True, help="a folder of JPEGs")
    parser.add_argument("--api-key-file", type=Path, help="where the service asks for a key")
    parser.add_argument("--shape", choices=list(SHAPES), default="steady")
    parser.add_argument(
        "--most-p95-ms", type=float, default=2000.0, help="of a picture that a user waits for"
    )
    parser.add_argument("--most-failures", type=float, default=0.0, help="share of all requests")


class Pictures:
    """Real pictures. Most of them get bytes that no request had before."""

    def __init__(self) -> None:
        self._all: list[bytes] = []
        self._sent = itertools.count()
        self._own = uuid.uuid4().hex

    def load(self, folder: str) -> None:
        self._all = read_pictures(Path(folder))

    def one(self) -> bytes:
        picture = random.choice(self._all)
        if random.random() < _REPEATED_SHARE:
            return picture
        return picture + f"{self._own}{next(self._sent)}".encode()

    def folder(self, images: int) -> list[tuple[str, tuple[str, bytes]]]:
        return [("files", (f"{number}.jpg", self.one())) for number in range(images)]


PICTURES = Pictures()


@events.test_start.add_listener
def _load_pictures(environment: Environment, **_: Any) -> None:
    PICTURES.load(environment.parsed_options.pictures)


class Person(HttpUser):
    abstract = True

    def on_start(self) -> None:
        if file := self.environment.parsed_options.api_key_file:
            self.client.headers["Authorization"] = f"Bearer {file.read_text().strip()}"


class Waiter(Person):
    """Sends one picture and waits for its labels."""

    weight = 60
    wait_time = between(0.5, 2)

    @task
    def classify(self) -> None:
        with self.client.post(
            "/api/v1/classify", data=PICTURES.one(), catch_response=True
        ) as answer:
            if answer.status_code != 200 or not answer.json()["predictions"]:
                answer.failure(f"{answer.status_code}, not labels")


class Poller(Person):
    """Submits a few pictures and reads the state of the job now and then."""

    weight = 20
    wait_time = between(1, 3)

    @task
    def submit_and_poll(self) -> None:
        files = PICTURES.folder(random.randint(1, 5))
        answer = self.client.post("/jobs", files=files)
        if answer.status_code != 202:
            return
        address = f"/jobs/{answer.json()['id']}"
        while not _ended(self.client.get(address, name="/jobs/<id>")):
            time.sleep(_POLL_SECONDS)  # Locust has patched it, so other users go on.
        _expect_labels(self, address, len(files))


class Folder(Person):
    """Uploads a folder for the bulk lane and waits for it."""

    weight = 10
    wait_time = between(5, 15)

    @task
    def upload(self) -> None:
        files = PICTURES.folder(64)
        answer = self.client.post("/jobs?lane=bulk", files=files, name="/jobs?lane=bulk (64)")
        if answer.status_code != 202:
            return
        address = f"/jobs/{answer.json()['id']}"
        while not _ended(self.client.get(f"{address}?wait=20", name="/jobs/<id>?wait=20")):
            pass
        _expect_labels(self, address, len(files))


class Probe(Person):
    """A load balancer, which asks once per second."""

    fixed_count = 1
    wait_time = between(1, 1)

    @task
    def health(self) -> None:
        self.client.get("/api/v1/health")


class Clumsy(Person):
    """Sends files that are no pictures, and expects the right error code."""

    weight = 10
    wait_time = between(1, 3)

    @task
    def not_a_picture(self) -> None:
        self._send(b"%PDF-1.7 a document", "unsupported_format")

    @task
    def nothing(self) -> None:
        self._send(b"", "empty_file")

    @task
    def cut_off(self) -> None:
        picture = PICTURES.one()
        self._send(picture[: len(picture) // 2], "truncated_image")

    @task
    def one_bad_among_good(self) -> None:
        files = [*PICTURES.folder(2), ("files", ("notes.txt", b"no picture"))]
        answer = self.client.post("/jobs", files=files)
        if answer.status_code == 202:
            address = f"/jobs/{answer.json()['id']}"
            while not _ended(self.client.get(f"{address}?wait=20", name="/jobs/<id>?wait=20")):
                pass
            _expect_labels(self, address, 2)

    def _send(self, body: bytes, code: str) -> None:
        with self.client.post(
            "/api/v1/classify", data=body, name=f"/api/v1/classify ({code})", catch_response=True
        ) as answer:
            _expect_problem(answer, code)


def _expect_problem(answer: ResponseContextManager, code: str) -> None:
    if 400 <= answer.status_code < 500 and answer.json()["code"] == code:
        answer.success()
    else:
        answer.failure(f"{answer.status_code}, not {code}")


def _expect_labels(user: HttpUser, address: str, images: int) -> None:
    """Fail the request unless so many pictures of the job have labels."""
    with user.client.get(
        f"{address}/results?limit=1000", name="/jobs/<id>/results", catch_response=True
    ) as answer:
        items = answer.json().get("items", [])
        labelled = sum(bool(item["predictions"]) for item in items)
        if labelled != images:
            answer.failure(f"{labelled} labelled, not {images}")


def _ended(answer: Any) -> bool:
    """An answer that cannot be read ends the wait too. It counts as a failure already."""
    return answer.status_code != 200 or answer.json()["state"] in ("completed", "cancelled")


class Shape(LoadTestShape):
    use_common_options = True  #: --users is the most users, --run-time the whole length.

    def tick(self) -> tuple[int, float] | None:
        options = self.runner.environment.parsed_options
        passed = self.get_run_time() / (options.run_time or 60)
        if passed >= 1:
            return None
        now = people(options.shape, most=options.num_users or 10, passed=passed)
        return now, options.spawn_rate or 10


@events.quitting.add_listener
def _judge(environment: Environment, **_: Any) -> None:
    """Fail the run where a threshold is passed, or where no picture was classified."""
    options, stats = environment.parsed_options, environment.stats
    classified = stats.get("/api/v1/classify", "POST")
    p95 = classified.get_response_time_percentile(0.95) or 0
    results = {"requests": stats.total.num_requests, "classify p95 (ms)": p95}
    print(json.dumps(results | {"failures": stats.total.fail_ratio}))
    too_many = stats.total.fail_ratio > options.most_failures
    too_slow = p95 > options.most_p95_ms
    environment.process_exit_code = int(too_many or too_slow or not classified.num_requests)
