"""A small Celery app for tests of the batching strategy.

Each run of a batch adds to Redis lists: to `began` when it starts, to `runs` when it ends. An entry
of a message says what the run does: sleep, wait for the gate, raise, run out of memory, die.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from celery import signals
from redis import Redis

from shared.jobs import Lane
from shared.redis_client import connect
from shared.settings import Settings
from workers.batching import frozen_processes
from workers.batching.micro_batch import MicroBatch
from workers.celery_app import make_celery
from workers.upkeep.lane_watch import LaneWatch

frozen_processes.LEAST_SECONDS = float(os.environ.get("LEAST_SECONDS", "10"))
settings = Settings()
app = make_celery(settings)
app.conf.update(
    task_default_queue="interactive",
    task_queues=[queue for queue in app.conf.task_queues if queue.name == "interactive"],
    worker_prefetch_multiplier=64,
    worker_send_task_events=True,
    task_time_limit=int(os.environ.get("TIME_LIMIT", "60")),
    worker_cancel_long_running_tasks_on_connection_loss=False,
)


@signals.worker_ready.connect
def _obey_the_operator(sender: Any, **_: Any) -> None:
    redis = connect(settings.redis_url, max_connections=1)
    watch = LaneWatch(redis, batch.batcher, Lane.INTERACTIVE)
    watch.tick()
    sender.timer.call_repeatedly(0.2, watch.tick)


@app.task(base=MicroBatch, name="batch", max_batch_size=8)
def batch(
    entries: list[dict[str, Any]],
    *,
    alone: bool,
    slow: bool,
    others: bool,
    recalled: Callable[[], bool],
) -> int:
    redis = Redis.from_url(settings.redis_url)
    names = [entry["name"] for entry in entries]
    redis.rpush(
        "began", json.dumps({"names": names, "pid": os.getpid(), "alone": alone, "slow": slow})
    )
    time.sleep(max(entry.get("sleep", 0) for entry in entries))
    while any("gate" in entry for entry in entries) and not redis.exists("open"):
        time.sleep(0.01)
    for entry in entries:
        # Only the first delivery does it. The second one finds the mark and succeeds.
        if "once" in entry and redis.set(f"did:{entry['name']}", 1, nx=True):
            {"raise": _raise, "memory": _run_out_of_memory, "die": _die}[entry["once"]]()
    redis.rpush("runs", json.dumps(names))
    return len(entries)


def _raise() -> None:
    raise ValueError("the batch is bad")


def _run_out_of_memory() -> None:
    raise MemoryError


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
