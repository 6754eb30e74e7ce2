"""Kill and freeze a service at random moments, and check that no accepted picture is lost.

    python -m loadtest.chaos PICTURES --images 2000 --seed 7

Clients send pictures in both lanes: at once, as archives, or in parts, of which some come twice.
They cancel some of the jobs. Meanwhile pool processes, workers, the web process and Redis are
killed with SIGKILL or frozen with SIGSTOP, connections are cut, and lanes are paused, at moments
that follow from the seed. Then everything drains. As in Jepsen's total-queue, every accepted
picture must have exactly one result, which is right and never changes. A picture of a cancelled job
has one result or none. Each job's end must have caused at least one webhook. No program may have
ended by itself. Exits with 1 where anything of this does not hold.
"""

from __future__ import annotations

import argparse
import base64
import os
import random
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import httpx

from loadtest.chaos.check import Check
from loadtest.chaos.clients import Client
from loadtest.chaos.havoc import Havoc
from loadtest.chaos.history import History
from loadtest.chaos.supervisor import Supervisor
from loadtest.measure.pictures import read_pictures
from tests.support.local_service import LocalService, export_model, local_service
from tests.support.webhook_receiver import webhook_receiver

_CLIENTS = 4

#: Short times, so that a short run sees many recoveries.
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


def run(service: LocalService, pictures: Sequence[bytes], *, images: int, seed: int) -> int:
    """Run a whole history and print its table. Returns 1 where it has a fault."""
    service.start_all()
    right = [_label(service, picture) for picture in pictures]
    supervisor = Supervisor(service)
    havoc = Havoc(service, supervisor, random.Random(seed))
    with webhook_receiver() as receiver:
        history = History(receiver)
        supervisor.repair()  # It starts the worker for webhooks.
        _load(service, pictures, history, havoc, images=images, seed=seed)
        faults = Check(service, history, right, supervisor.repair).faults()
    faults["unexpected deaths"] = len(supervisor.deaths)
    _print_table(history, havoc, faults)
    print(*supervisor.deaths, sep="\n")
    return 1 if faults.total() else 0


def _load(
    service: LocalService,
    pictures: Sequence[bytes],
    history: History,
    havoc: Havoc,
    *,
    images: int,
    seed: int,
) -> None:
    """Strike while the clients send, until there were enough images and every kind of strike."""

    def enough() -> bool:
        return history.images_accepted >= images and havoc.struck_all

    clients = [Client(service.base_url, pictures, history, seed + k) for k in range(_CLIENTS)]
    threads = [threading.Thread(target=client.run, args=(enough,)) for client in clients]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        havoc.strike()
    havoc.end()
    for thread in threads:
        thread.join()


def _label(service: LocalService, picture: bytes) -> str:
    answer = httpx.post(
        f"{service.base_url}/api/v1/classify", content=picture, timeout=60, trust_env=False
    )
    label: str = answer.raise_for_status().json()["predictions"][0]["class_name"]
    return label


def _print_table(history: History, havoc: Havoc, faults: Counter[str]) -> None:
    print("| history | images |")
    print("|---|--:|")
    for name, count in [*sorted(history.counts.items()), *faults.items()]:
        print(f"| {name} | {count} |")
    strikes = ", ".join(f"{name} {count}" for name, count in sorted(havoc.done.items()))
    print(f"\n{strikes}")


if __name__ == "__main__":
    main()
