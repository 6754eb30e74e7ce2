"""Five times what the service can do, for a minute: what it accepts it answers, the rest it
refuses, and nothing grows without end.

    python -m loadtest.overload PICTURES --seconds 60

Half of the pictures come one by one and are waited for, half in parts for the bulk lane, all at
random moments whoever still waits. Then, the overload over and everything drained, one picture at
a time while the bulk lane is full. Exits with 1 where something does not hold; `--no-bars` checks
counts and answers alone, for a machine whose time is not its own.
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
from loadtest.measure.pictures import read_pictures
from loadtest.measure.load_client import Answer, Report
from tests.support.local_service import LocalService, export_model, local_service
from loadtest.measure.process_table import MemoryWatch
from loadtest.measure.request_stream import BULK, CLASSIFY
from shared.jobs import Lane
from shared.settings import Settings

_TIMES = 5
_CLIENTS = 32

#: One person: slow enough that no picture waits for another of theirs.
_PERSON = replace(CLASSIFY, rate=5.0)

#: What may come of a request under overload; 0, no answer at all, is told by itself.
_MAY_COME = {0, 200, 202, 429, 503}

_MOST_REFUSAL_MS = 20.0
_MOST_IDLE_RATIO = 3.0

#: Of the capacity: what comes for the bulk lane while a person asks.
_FILLING = 1.5

_DRAIN_SECONDS = 300


@dataclass(kw_only=True)
class Account:
    """Of every picture that was sent, by what became of it."""

    pictures: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    refusal_ms: list[float] = field(default_factory=list)
    finished: list[float] = field(default_factory=list)  #: Unix seconds, of those answered right.

    def goodput(self, report: Report, seconds: float) -> float:
        """Pictures answered right in each of the load's seconds; what came later is not counted."""
        return sum(at <= report.began + seconds for at in self.finished) / seconds


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--no-bars", action="store_true", help="no bar on time or memory")
    arguments.add_argument("--publish", action="store_true", help="write docs/")
    options = arguments.parse_args()
    export_model()
    with tempfile.TemporaryDirectory() as folder:
        with local_service(Path(folder), os.environ, redis_socket=True) as service:
            service.start_all()
            pictures = read_pictures(options.pictures)
            text, misses = run(service, pictures, seconds=options.seconds, bars=not options.no_bars)
    print(text)
    if options.publish:
        document.fill("overload", text)
    sys.exit("\n".join(["", *misses]) if misses else 0)


def run(
    service: LocalService, pictures: Sequence[bytes], *, seconds: float, bars: bool
) -> tuple[str, list[str]]:
    """The whole course: its tables, and what did not hold."""
    right = [_label(service, picture) for picture in pictures]
    capacity = _capacity(service, pictures, min(10.0, seconds / 2))
    half = _TIMES * capacity / 2
    streams = [replace(CLASSIFY, rate=half), replace(BULK, rate=half / BULK.images)]
    with MemoryWatch(service) as memory:
        report = load_client.run(service.base_url, pictures, streams, seconds=seconds)
        account = _account(service, report, right)
    bounds = _memory_bounds(Settings(), pictures)
    told = f"Capacity {capacity:.0f} images/s; offered {_TIMES} times that for {seconds:.0f} s."
    goodput = account.goodput(report, seconds)
    told += f" Goodput meanwhile {goodput:.0f} images/s, {goodput / capacity:.2f} of the capacity."
    texts = [told, account_table(account, report), memory.table(bounds)]
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
        # Web that is kept from its processor holds more requests at a time, and their bodies.
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
    """Hold every answer against the right one, after everything accepted has ended."""
    account = Account()
    give_up = time.monotonic() + _DRAIN_SECONDS
    with httpx.Client(base_url=service.base_url, timeout=60) as http:
        for answer in report.answers:
            account.statuses[answer.status] += 1
            outcome, wrong = "unexpected", 0
            if answer.status in (429, 503):
                outcome = "refused"
                account.refusal_ms.append(1000 * answer.seconds)
            elif answer.status in (200, 202):
                outcome = "accepted"
                told, finished = _told(http, answer, report, give_up)
                asked = [right[number] for number in answer.numbers]
                wrong = sum(label != its for label, its in zip(told, asked, strict=True))
                account.finished += [finished] * (len(asked) - wrong)
            account.pictures[outcome] += len(answer.numbers)
            account.pictures["accepted and not answered right"] += wrong
    return account


def _told(
    http: httpx.Client, answer: Answer, report: Report, give_up: float
) -> tuple[list[str | None], float]:
    """What the service says each accepted picture shows, and when it had ended, in Unix seconds."""
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
    answer = httpx.post(f"{service.base_url}/api/v1/classify", content=picture, timeout=60)
    label = _best(answer.raise_for_status().json())
    assert label
    return label


def _beside_full_bulk(
    service: LocalService, pictures: Sequence[bytes], capacity: float
) -> tuple[float, float]:
    """One person's 95th percentile in ms, of an idle service and while more comes for the bulk
    lane than it can do.
    """
    filling = replace(BULK, rate=_FILLING * capacity / BULK.images)
    idle = _p95(load_client.run(service.base_url, pictures, [_PERSON], seconds=20))
    load_client.run(service.base_url, pictures, [filling], seconds=5)
    full = _p95(load_client.run(service.base_url, pictures, [_PERSON, filling], seconds=20))
    with closing(service.redis()) as redis:
        assert redis.zcard(f"outstanding:{Lane.BULK}"), "the bulk lane ran dry: this says nothing"
    return idle, full


def _memory_bounds(settings: Settings, pictures: Sequence[bytes]) -> dict[str, float]:
    """Megabytes that a process of each role may have, and why."""
    mean = sum(map(len, pictures)) / len(pictures)
    waiting = mean * settings.max_concurrent_submissions
    return {
        # Its own, every picture that somebody waits for, and bodies on their way in.
        process_table.WEB: 150 + 2 * waiting / 2**20 + 4 * settings.max_request_bytes / 2**20,
        # It holds ids, never pictures.
        process_table.MASTER: 200,
        # Model, and the picture that it decodes.
        process_table.POOL: 350,
        # Pictures held, and as much again for records, allocator and what clients are sending.
        process_table.REDIS: 100 + 2 * settings.max_bytes_held / 2**20,
    }


def _wrong(account: Account, report: Report) -> list[str]:
    misses = []
    if account.pictures["accepted and not answered right"]:
        misses.append("not every accepted picture was answered right")
    if unexpected := {s: n for s, n in account.statuses.items() if s not in _MAY_COME}:
        misses.append(f"answers that nobody should get: {unexpected}")
    if lost := [answer for answer in report.answers if not answer.status]:
        # After the client's patience, or earlier: then its connection was cut.
        waits = ", ".join(f"{answer.kind} after {answer.seconds:.1f} s" for answer in lost[:20])
        misses.append(f"without an answer: {waits}")
    if not account.pictures["refused"]:
        misses.append("nothing was refused: this was no overload")
    if report.unsent:
        misses.append(f"the client could not send {report.unsent} requests")
    return misses


def _too_large(memory: MemoryWatch, bounds: dict[str, float]) -> list[str]:
    return [
        f"a {role} had {megabytes:.0f} MB; its bound is {bounds[role]:.0f}"
        for role, megabytes in memory.peaks().items()
        if megabytes > bounds[role]
    ]


def _too_slow(account: Account, ratio: float) -> list[str]:
    misses = []
    if np.median(account.refusal_ms or [0]) > _MOST_REFUSAL_MS:
        misses.append(f"the median refusal took more than {_MOST_REFUSAL_MS:.0f} ms")
    if ratio > _MOST_IDLE_RATIO:
        misses.append(f"beside a full bulk lane p95 is over {_MOST_IDLE_RATIO:.0f} times idle")
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
