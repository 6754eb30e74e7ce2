"""Send five times what the service can do, and check that it answers everything it accepts.

    python -m loadtest.overload PICTURES --seconds 60

Both sets of pictures are sent, one after the other (loadtest.measure.pictures).

Half of the pictures come one by one, from clients that wait for labels. The other half come in
parts for the bulk lane. All requests come at random moments. After everything has drained, single
pictures come while the bulk lane is full. It exits with 1 where an answer is wrong, a refusal is
slow or memory grows above its bound. `--no-bars` checks only counts and answers, for a machine that
other work shares.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from loadtest.publish import document
from loadtest.measure import load_client, process_table
from loadtest.measure.pictures import TITLES, read_sets
from loadtest.measure.load_client import Answer, Report
from tests.support.local_service import LocalService, export_model, local_service
from loadtest.measure.process_table import MemoryWatch
from loadtest.measure.request_stream import CLASSIFY, bulk
from shared.jobs import Lane
from shared.settings import Settings

_TIMES = 5
_CLIENTS = 32

#: One user, who sends so slowly that no picture of theirs waits for another.
_PERSON = replace(CLASSIFY, rate=5.0)

#: The statuses that are right under overload. 0 means no answer and is reported apart.
_EXPECTED = {0, 200, 202, 429, 503}

_MOST_REFUSAL_MS = 20.0
_MOST_IDLE_RATIO = 3.0

#: The load of the bulk lane beside single pictures, as a share of the capacity.
_FILLING = 1.5

_DRAIN_SECONDS = 300


@dataclass(kw_only=True)
class Account:
    """Counts every picture that was sent by its outcome."""

    pictures: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    refusal_ms: list[float] = field(default_factory=list)
    finished: list[float] = field(default_factory=list)  #: Unix seconds, for the right answers.

    def goodput(self, report: Report, seconds: float) -> float:
        """Right answers per second during the load. Later ones do not count."""
        return sum(at <= report.began + seconds for at in self.finished) / seconds


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--no-bars", action="store_true", help="do not check time and memory")
    arguments.add_argument("--publish", action="store_true", help="write docs/")
    arguments.add_argument("--only", choices=list(TITLES), help="measure one set of pictures")
    options = arguments.parse_args()
    export_model()
    texts, misses = [], []
    for name, pictures in read_sets(options.pictures, options.only).items():
        with tempfile.TemporaryDirectory() as folder:
            with local_service(Path(folder), os.environ, redis_socket=True) as service:
                service.start_all()
                text, missed = run(
                    service, pictures, seconds=options.seconds, bars=not options.no_bars
                )
        texts.append(f"Of {TITLES[name]}: {text}")
        misses += [f"{TITLES[name]}: {miss}" for miss in missed]
    text = "\n\n".join(texts)
    print(text)
    if options.publish:
        document.fill("overload", text)
    sys.exit("\n".join(["", *misses]) if misses else 0)


def run(
    service: LocalService, pictures: Sequence[bytes], *, seconds: float, bars: bool
) -> tuple[str, list[str]]:
    """Returns the tables, and a sentence for each check that failed."""
    right = [_label(service, picture) for picture in pictures]
    capacity = _capacity(service, pictures, min(10.0, seconds / 2))
    half = _TIMES * capacity / 2
    parts = bulk(pictures)
    streams = [replace(CLASSIFY, rate=half), replace(parts, rate=half / parts.images)]
    with MemoryWatch(service) as memory:
        report = load_client.run(service.base_url, pictures, streams, seconds=seconds)
        account = _account(service, report, right)
    bounds = _memory_bounds(Settings())
    head = f"capacity {capacity:.0f} images/s; offered {_TIMES} times that for {seconds:.0f} s."
    goodput = account.goodput(report, seconds)
    head += f" Goodput meanwhile {goodput:.0f} images/s, {goodput / capacity:.2f} of the capacity."
    texts = [head, account_table(account, report), memory.table(bounds)]
    misses = _wrong(account, report)
    if account.pictures["unexpected"]:
        misses += [line for line in service.log("web").splitlines() if '"error"' in line][-3:]
    if bars:
        idle, full = _beside_full_bulk(service, pictures, capacity)
        texts.append(
            f"One picture at a time, p95: {idle:.1f} ms idle, {full:.1f} ms beside a full "
            f"bulk lane, {full / idle:.2f} times as long."
        )
        misses += _too_slow(account, full / idle)
        # A web process that gets little processor time holds more requests and their bodies.
        misses += _too_large(memory, bounds)
    return "\n\n".join(texts), misses


def _capacity(service: LocalService, pictures: Sequence[bytes], seconds: float) -> float:
    clients = replace(CLASSIFY, clients=_CLIENTS)
    report = load_client.run(service.base_url, pictures, [clients], seconds=seconds)
    return sum(answer.status == 200 for answer in report.answers) / report.seconds


def _p95(report: Report) -> float:
    times = [1000 * answer.seconds for answer in report.of(CLASSIFY.kind) if answer.status == 200]
    return float(np.percentile(times, 95))


def _account(service: LocalService, report: Report, right: Sequence[str]) -> Account:
    """Compare every answer with the right one, after everything accepted has ended."""
    account = Account()
    give_up = time.monotonic() + _DRAIN_SECONDS
    with httpx.Client(base_url=service.base_url, timeout=60, trust_env=False) as http:
        for answer in report.answers:
            account.statuses[answer.status] += 1
            outcome, wrong = "unexpected", 0
            if answer.status in (429, 503):
                outcome = "refused"
                account.refusal_ms.append(1000 * answer.seconds)
            elif answer.status in (200, 202):
                outcome = "accepted"
                labels, finished = _labels(http, answer, report, give_up)
                expected = [right[number] for number in answer.numbers]
                wrong = sum(one != other for one, other in zip(labels, expected, strict=True))
                account.finished += [finished] * (len(expected) - wrong)
            account.pictures[outcome] += len(answer.numbers)
            account.pictures["accepted and not answered right"] += wrong
    return account


def _labels(
    http: httpx.Client, answer: Answer, report: Report, give_up: float
) -> tuple[list[str | None], float]:
    """The label of each accepted picture, and when its job ended, in Unix seconds."""
    answered: dict[str, Any] = httpx.Response(200, content=answer.body).json()
    if "predictions" in answered:
        return [_best(answered)], report.began + answer.ended
    while time.monotonic() < give_up:
        job = http.get(f"/jobs/{answered['id']}?wait=20").raise_for_status().json()
        if job["state"] == "completed":
            break
    page = http.get(f"/jobs/{answered['id']}/results?limit=1000").raise_for_status().json()
    return [_best(item) for item in page["items"]], page["job"]["finished_at"] or math.inf


def _best(item: dict[str, Any]) -> str | None:
    predictions = item["predictions"]
    return predictions[0]["class_name"] if predictions else None


def _label(service: LocalService, picture: bytes) -> str:
    answer = httpx.post(
        f"{service.base_url}/api/v1/classify", content=picture, timeout=60, trust_env=False
    )
    label = _best(answer.raise_for_status().json())
    assert label
    return label


def _beside_full_bulk(
    service: LocalService, pictures: Sequence[bytes], capacity: float
) -> tuple[float, float]:
    """The p95 of one user in ms: of an idle service, and beside an overloaded bulk lane."""
    filling = bulk(pictures)
    filling = replace(filling, rate=_FILLING * capacity / filling.images)
    idle = _p95(load_client.run(service.base_url, pictures, [_PERSON], seconds=20))
    load_client.run(service.base_url, pictures, [filling], seconds=5)
    full = _p95(load_client.run(service.base_url, pictures, [_PERSON, filling], seconds=20))
    with closing(service.redis()) as redis:
        assert redis.zcard(
            f"outstanding:{Lane.BULK}"
        ), "the bulk lane was empty, so this measured nothing"
    return idle, full


def _memory_bounds(settings: Settings) -> dict[str, float]:
    """The most megabytes of a process of each role."""
    return {
        # Its own memory, bodies that are read or stored, and as much again for copies of them.
        process_table.WEB: 150 + 2 * settings.max_body_memory_bytes / 2**20,
        # It holds ids and no pictures.
        process_table.MASTER: 200,
        # The model, and the picture that it decodes.
        process_table.POOL: 350,
        # The pictures, and as much again for records, allocator and clients' buffers.
        process_table.REDIS: 100 + 2 * settings.max_bytes_held / 2**20,
    }


def _wrong(account: Account, report: Report) -> list[str]:
    misses = []
    if account.pictures["accepted and not answered right"]:
        misses.append("Not every accepted picture got its right label.")
    if unexpected := {s: n for s, n in account.statuses.items() if s not in _EXPECTED}:
        misses.append(f"These statuses are wrong under overload: {unexpected}")
    if lost := [answer for answer in report.answers if not answer.status]:
        # Earlier than the client's patience means that its connection was cut.
        waits = ", ".join(f"{answer.kind} after {answer.seconds:.1f} s" for answer in lost[:20])
        misses.append(f"These requests got no answer: {waits}")
    if not account.pictures["refused"]:
        misses.append("Nothing was refused, so this was no overload.")
    if report.unsent:
        misses.append(f"The client could not send {report.unsent} requests.")
    return misses


def _too_large(memory: MemoryWatch, bounds: dict[str, float]) -> list[str]:
    return [
        f"A {role} had {megabytes:.0f} MB. Its bound is {bounds[role]:.0f} MB."
        for role, megabytes in memory.peaks().items()
        if megabytes > bounds[role]
    ]


def _too_slow(account: Account, ratio: float) -> list[str]:
    misses = []
    if np.median(account.refusal_ms or [0]) > _MOST_REFUSAL_MS:
        misses.append(f"The median refusal took more than {_MOST_REFUSAL_MS:.0f} ms.")
    if ratio > _MOST_IDLE_RATIO:
        misses.append(
            f"Beside a full bulk lane the p95 is more than {_MOST_IDLE_RATIO:.0f} times idle."
        )
    return misses


def account_table(account: Account, report: Report) -> str:
    outcomes = ("accepted", "accepted and not answered right", "refused", "unexpected")
    median, p95 = np.percentile(account.refusal_ms or [0], [50, 95])
    late = np.percentile([1000 * (each.sent - each.due) for each in report.answers], 95)
    rows: dict[str, object] = {
        f"pictures {outcome}": account.pictures[outcome] for outcome in outcomes
    }
    rows |= {f"answers {status}": n for status, n in sorted(account.statuses.items())}
    rows |= {
        "refusal, median / p95 (ms)": f"{median:.1f} / {p95:.1f}",
        "load generator: delay, p95 (ms)": f"{late:.1f}",
        "load generator: share of one core": f"{report.cpu_seconds / report.seconds:.2f}",
    }
    lines = ["| under overload | |", "|---|--:|"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows.items())])


if __name__ == "__main__":
    main()
