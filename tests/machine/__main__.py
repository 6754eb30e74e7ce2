"""Runs the state machine over the records for a while, on a Redis of its own.

    python -m tests.machine --minutes 60
    python -m tests.machine --seed 17

The first form runs a new seed every few seconds, and stops at a failure. It prints the steps that
lead there. The second form runs one seed again: the same steps, as long as the rules stay the same.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path

import pytest

from quickstart import redis_server
from shared.redis_client import connect
from tests.machine.run import explore, explore_for, machine_on
from tests.support.ports import free_port


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.machine", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, help="run only this seed")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)  # webhooks that the machine lets fail
    with (
        tempfile.TemporaryDirectory() as folder,
        redis_server.running(Path(folder), free_port()) as url,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        machine = machine_on(connect(url, max_connections=8), url, monkeypatch)
        if arguments.seed is not None:
            explore(machine, arguments.seed, examples=20)
            return
        for seed in explore_for(machine, 60 * arguments.minutes, first=int(time.time())):
            print(f"seed {seed}", flush=True)


if __name__ == "__main__":
    main()
