"""What goes in comes out, whatever dies: a history of a service under fire, and its check.

    python -m loadtest.chaos PICTURES --images 2000 --seed 7

Clients send pictures in both lanes, at once, as archives, or in parts of which some are sent twice,
and cancel some of the jobs, while at random from the seed pool processes, workers, the web process
and Redis are killed with SIGKILL or frozen with SIGSTOP, and connections are cut. Then everything
drains, and as in Jepsen's total-queue every accepted image must have exactly one result, the right
one, that never changed once it was seen; of a cancelled job, that one or none; and the end of each
job must have been told by webhook, once or more. Exits with 1 on any loss.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import random
import signal
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from redis.exceptions import RedisError

from loadtest.measure.pictures import read_pictures
from tests.support.local_service import LocalService, export_model, local_service
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver
from shared import keys
from shared.jobs import PART_SIZE, Lane
from workers.webhooks import QUEUE

_CLIENTS = 4
_DRAIN_SECONDS = 180
#: At most, between two submissions of a client: about as much comes in as two cores classify.
_PAUSE_SECONDS = 1.0
_ENDED = ("completed", "cancelled")
_WEBHOOKS = ["celery", "-A", "workers.webhooks.app", "worker"]

#: Of the jobs, those that are opened and filled in parts, and those that are one archive each.
_OPENED = 0.3
_ARCHIVED = 0.2

#: Quick to notice, so that a short run sees many recoveries.
_SETTINGS = {
    "PART_DEADLINE_SECONDS": "6",
    "BATCH_TIME_LIMIT_SECONDS": "5",
    "RECONCILE_SECONDS": "1",
    "STALL_SECONDS": "10",
    "WORKER_PROCESSES": "2",
    "WEB_PROCESSES": "1",
    "WEBHOOKS": "true",
    "WEBHOOK_SECRET": f"whsec_{base64.b64encode(os.urandom(32)).decode()}",
    "WEBHOOK_ALLOW_PRIVATE": "true",
    "WEBHOOK_TIMEOUT_SECONDS": "1",
}


@dataclass
class History:
    """What the clients did and were told."""

    receiver: WebhookReceiver
    accepted: dict[str, list[int]] = field(default_factory=dict)  #: job id -> picture numbers
    cancelled: set[str] = field(default_factory=set)  #: Ids of jobs that were asked to end.
    seen: dict[str, list[Any]] = field(default_factory=dict)  #: job id -> first complete results
    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("--images", type=int, default=2000)
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = arguments.parse_args()
    print(f"seed {options.seed}", flush=True)
    export_model()
    with tempfile.TemporaryDirectory() as folder:
        with local_service(Path(folder), {**os.environ, **_SETTINGS}) as service:
            pictures = read_pictures(options.pictures)
            sys.exit(run(service, pictures, images=options.images, seed=options.seed))


def run(service: LocalService, pictures: list[bytes], *, images: int, seed: int) -> int:
    """The whole history; gives the number of faults found, and prints the table."""
    service.start_all()
    right = [_label(service, picture) for picture in pictures]
    with webhook_receiver() as receiver:
        return _run(service, pictures, right, History(receiver), images=images, seed=seed)


def _run(
    service: LocalService,
    pictures: list[bytes],
    right: list[str],
    history: History,
    *,
    images: int,
    seed: int,
) -> int:
    havoc = Havoc(service, random.Random(seed))
    clients = [
        threading.Thread(target=_client, args=(service, pictures, history, images, seed + k, havoc))
        for k in range(_CLIENTS)
    ]
    for client in clients:
        client.start()
    havoc.repair()  # it starts what is missing: the worker for webhooks
    while any(client.is_alive() for client in clients):
        havoc.strike()
    for client in clients:
        client.join()
    faults = _check(service, history, right, havoc.repair)
    _print_table(history, havoc, faults)
    return sum(faults.values())


class Havoc:
    """Kills, freezes and cuts; what is killed is started again, as a supervisor does."""

    def __init__(self, service: LocalService, chance: random.Random) -> None:
        self.done: Counter[str] = Counter()
        self._service = service
        self._chance = chance
        self._strikes: list[Callable[[], None]] = [
            self.kill_pool_process,
            self.kill_pool_process,
            self.kill_worker,
            self.kill_web,
            self.kill_webhooks,
            self.kill_redis,
            self.freeze_worker,
            self.freeze_redis,
            self.cut_connections,
        ]
        self._next: list[Callable[[], None]] = []

    def strike(self) -> None:
        time.sleep(self._chance.uniform(0.5, 2.0))
        # In turns of all kinds, so that a short run sees each.
        self._next = self._next or self._chance.sample(self._strikes, k=len(self._strikes))
        strike = self._next.pop()
        try:
            strike()
            self.done[strike.__name__] += 1
        except (RedisError, ProcessLookupError, IndexError, FileNotFoundError):
            pass  # it was down already
        self.repair()

    @property
    def struck_all(self) -> bool:
        """Whether each kind of strike has hit something."""
        return self.done.keys() == {strike.__name__ for strike in self._strikes}

    def repair(self) -> None:
        """What a supervisor does: start what has ended."""
        for name, start in self._programs().items():
            process = self._service.processes.get(name)
            if process is None or process.poll() is not None:
                self._service.processes.pop(name, None)
                start()

    def _programs(self) -> dict[str, Callable[[], None]]:
        return {
            "web": self._service.start_web,
            Lane.INTERACTIVE: lambda: self._service.start_worker(Lane.INTERACTIVE),
            Lane.BULK: lambda: self._service.start_worker(Lane.BULK),
            "webhooks": lambda: self._service.start("webhooks", _WEBHOOKS, {}),
        }

    def kill_pool_process(self) -> None:
        pid = self._chance.choice(self._service.pool_processes(self._lane()))
        os.kill(pid, signal.SIGKILL)

    def kill_worker(self) -> None:
        self._service.stop(self._lane(), signal.SIGKILL)

    def kill_web(self) -> None:
        self._service.stop("web", signal.SIGKILL)

    def kill_webhooks(self) -> None:
        self._service.stop("webhooks", signal.SIGKILL)

    def kill_redis(self) -> None:
        self._service.stop_redis(signal.SIGKILL)
        time.sleep(self._chance.uniform(0.1, 1.0))
        self._service.start_redis()

    def freeze_worker(self) -> None:
        self._freeze(self._service.processes[self._lane()].pid)

    def freeze_redis(self) -> None:
        self._freeze(self._service.redis_process())

    def cut_connections(self) -> None:
        redis = self._service.redis()
        for kind in ("normal", "pubsub"):
            redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        redis.close()

    def _freeze(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self._chance.uniform(0.5, 2.5))
        os.kill(pid, signal.SIGCONT)

    def _lane(self) -> Lane:
        return self._chance.choice(list(Lane))


def _client(
    service: LocalService,
    pictures: list[bytes],
    history: History,
    images: int,
    seed: int,
    havoc: Havoc,
) -> None:
    """Sends until enough images were accepted, all clients together, and all kinds have struck."""
    chance = random.Random(seed)
    number = 0
    with httpx.Client(base_url=service.base_url, timeout=20) as http:
        while _accepted(history) < images or not havoc.struck_all:
            time.sleep(chance.uniform(0, _PAUSE_SECONDS))
            size = chance.choice([1, 1, 5, 40])
            numbers = [chance.randrange(len(pictures)) for _ in range(size)]
            number += 1
            tail = f"{seed}-{number}".encode()  # other bytes: no cache answers
            files = [("files", (str(n), pictures[n] + tail)) for n in numbers]
            lane = chance.choice(list(Lane))
            way = chance.random()
            if way < _OPENED:
                _Upload(http, files, numbers, lane, history, chance).run()
            elif way < _OPENED + _ARCHIVED:
                _send(http, [_archive(files)], numbers, lane, history, "accepted as archives")
            else:
                _send(http, files, numbers, lane, history, "accepted")


def _accepted(history: History) -> int:
    return sum(map(len, list(history.accepted.values())))


def _archive(files: list[Any]) -> Any:
    with io.BytesIO() as packed:
        with zipfile.ZipFile(packed, "w") as archive:
            for k, (_, (name, data)) in enumerate(files):
                archive.writestr(f"{k}-{name}.jpg", data)
        return "files", ("folder.zip", packed.getvalue())


class _Upload:
    """A job that is opened and filled. What has no answer is sent again, as a client may."""

    def __init__(
        self,
        http: httpx.Client,
        files: list[Any],
        numbers: list[int],
        lane: Lane,
        history: History,
        chance: random.Random,
    ) -> None:
        self._http = http
        self._files = files
        self._numbers = numbers
        self._lane = lane
        self._history = history
        self._chance = chance

    def run(self) -> None:
        self._count("attempted")
        fields = {"total": len(self._files), "lane": self._lane, "top_k": 1}
        fields["webhook"] = self._history.receiver.url
        job_id = self._ask("POST", "/jobs", json=fields)["job"]["id"]
        parts = list(range(-(-len(self._files) // PART_SIZE)))
        order = self._chance.sample(parts * 2, k=len(parts) + 1)  # some twice, some maybe not
        order += [number for number in parts if number not in order]
        cancel_after = self._chance.choice([None, None, *range(len(order) + 1)])
        for k, number in enumerate(order):
            if k == cancel_after:
                break
            first = number * PART_SIZE
            files = self._files[first : first + PART_SIZE]
            self._ask("PUT", f"/jobs/{job_id}/parts/{number}", files=files)
        if cancel_after is not None:
            self._ask("DELETE", f"/jobs/{job_id}")
        with self._history.lock:
            self._history.accepted[job_id] = self._numbers
            if cancel_after is not None:
                self._history.cancelled.add(job_id)
        self._count("accepted in parts" if cancel_after is None else "cancelled")

    def _ask(self, method: str, path: str, **body: Any) -> Any:
        while True:
            try:
                answer = self._http.request(method, path, **body)
            except httpx.TransportError:
                time.sleep(0.2)
                continue
            if answer.is_success:
                return answer.json()
            if answer.status_code not in (429, 503):
                self._count(f"unexpected {answer.status_code}")
                raise RuntimeError(answer.text)
            time.sleep(0.2)

    def _count(self, name: str) -> None:
        with self._history.lock:
            self._history.counts[name] += len(self._numbers)


def _send(
    http: httpx.Client,
    files: list[Any],
    numbers: list[int],
    lane: Lane,
    history: History,
    accepted: str,
) -> None:
    with history.lock:
        history.counts["attempted"] += len(numbers)
    try:
        fields = {"lane": lane, "top_k": 1, "webhook": history.receiver.url}
        answer = http.post("/jobs", files=files, data=fields)
    except httpx.TransportError:
        outcome = "no answer"  # it may have been stored or not: nothing was promised
        time.sleep(0.2)
    else:
        outcome = {202: accepted, 503: "refused", 429: "refused"}.get(answer.status_code, "")
        if not outcome:
            outcome = f"unexpected {answer.status_code}"
        if outcome == "refused":
            time.sleep(0.2)
    with history.lock:
        history.counts[outcome] += len(numbers)
        if outcome == accepted:
            history.accepted[answer.json()["id"]] = numbers


def _check(
    service: LocalService, history: History, right: list[str], repair: Callable[[], None]
) -> Counter[str]:
    """Wait for the drain, then hold what is there against what was promised.

    `repair` goes on meanwhile: a worker that was hit as it started ends a while after the last
    strike, and a supervisor starts it again.
    """
    faults: Counter[str] = Counter({name: 0 for name in ("lost", "wrong", "changed", "left over")})
    deadline = time.monotonic() + _DRAIN_SECONDS
    with httpx.Client(base_url=service.base_url, timeout=60) as http:
        for job_id, numbers in history.accepted.items():
            items = _results(http, job_id, deadline, repair)
            history.seen[job_id] = items
            labels = [
                item["predictions"] and item["predictions"][0]["class_name"] for item in items
            ]
            ends = {"succeeded", "cancelled"} if job_id in history.cancelled else {"succeeded"}
            faults["lost"] += len(numbers) - sum(item["state"] in ends for item in items)
            faults["wrong"] += sum(
                bool(label) and label != right[n] for label, n in zip(labels, numbers, strict=True)
            )
        time.sleep(3)  # a late second delivery would change something now
        for job_id in history.accepted:
            faults["changed"] += _results(http, job_id, deadline, repair) != history.seen[job_id]
    # An answer that no client can expect; its pictures are accounted for by nobody.
    for name, count in history.counts.items():
        faults["unexpected"] += count if name.startswith("unexpected") else 0
    faults["left over"] += sum(_left_over(service, deadline, repair).values())
    # Jobs, not images; nothing is due any more, so what was not told never will be.
    faults["ends untold"] += len(history.accepted.keys() - history.receiver.told)
    return faults


def _results(
    http: httpx.Client, job_id: str, deadline: float, repair: Callable[[], None]
) -> list[Any]:
    while time.monotonic() < deadline:
        repair()
        try:
            job = http.get(f"/jobs/{job_id}?wait=5")
            if job.status_code == 200 and job.json()["state"] in _ENDED:
                break
        except httpx.TransportError:
            time.sleep(0.5)
    page = http.get(f"/jobs/{job_id}/results?limit=1000").json()
    items: list[Any] = page.get("items", [])
    return items


def _left_over(
    service: LocalService, deadline: float, repair: Callable[[], None]
) -> dict[str, int]:
    """Parts outstanding, messages, and bytes that nobody needs any more; waits for none."""
    redis = service.redis()
    while True:
        repair()
        left = {
            "outstanding": sum(redis.zcard(f"outstanding:{lane}") for lane in Lane),
            "images": sum(abs(int(redis.get(f"outstanding_images:{lane}") or 0)) for lane in Lane),
            "messages": sum(redis.llen(lane) for lane in Lane),
            "waiting": sum(redis.zcard(f"waiting:{lane}") for lane in Lane),
            "bytes": len(redis.keys("images:*")),  # what was staged in vain goes by itself
            "bytes held": int(redis.hget("held", "total") or 0),
            "webhooks": redis.zcard(keys.WEBHOOKS_DUE) + redis.llen(QUEUE),
        }
        # What another delivery left unacknowledged comes back, finds nothing to do, and goes.
        if not any(left.values()) or time.monotonic() > deadline:
            redis.close()
            return left
        time.sleep(0.5)


def _label(service: LocalService, picture: bytes) -> str:
    answer = httpx.post(f"{service.base_url}/api/v1/classify", content=picture, timeout=60)
    label: str = answer.raise_for_status().json()["predictions"][0]["class_name"]
    return label


def _print_table(history: History, havoc: Havoc, faults: Counter[str]) -> None:
    print("| history | images |")
    print("|---|--:|")
    for name, count in sorted(history.counts.items()):
        print(f"| {name} | {count} |")
    for name, count in faults.items():
        print(f"| {name} | {count} |")
    strikes = ", ".join(f"{name} {count}" for name, count in sorted(havoc.done.items()))
    print(f"\n{strikes}")


if __name__ == "__main__":
    main()
