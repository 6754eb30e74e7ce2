"""What KEDA asks Redis, asked while a job runs: the answer falls to zero with the last commit and
not before."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import yaml

from tests.support.local_service import LocalService
from shared import keys
from shared.jobs import PART_SIZE, Lane

_ROOT = Path(__file__).parents[3]

# KEDA's redis scaler sends a script that counts by the key's type: its documentation speaks of
# lists alone, its source (pkg/scalers/redis_scaler.go, 2.20) of sorted sets, sets and hashes too.
_COUNT = """
local kind = redis.call('TYPE', KEYS[1]).ok
local count = {list = 'LLEN', none = 'LLEN', zset = 'ZCARD', set = 'SCARD', hash = 'HLEN'}
return redis.call(count[kind], KEYS[1])
"""
_IMAGES = 10 * PART_SIZE


def _listed(lane: Lane) -> str:
    """The key that the lane's ScaledObject names."""
    objects = yaml.safe_load_all((_ROOT / "k8s/base/scaled-objects.yaml").read_text())
    [found] = [o for o in objects if o["metadata"]["name"] == f"worker-{lane}"]
    name: str = found["spec"]["triggers"][0]["metadata"]["listName"]
    return name


def test_the_scaler_sees_work_until_the_last_of_it_is_committed(
    service: LocalService, http: httpx.Client, pictures: list[Path]
) -> None:
    listed = _listed(Lane.BULK)
    files = [
        ("files", (f"{k}.jpg", pictures[k % len(pictures)].read_bytes() + b"keda%d" % k))
        for k in range(_IMAGES)
    ]
    with service.redis() as redis:
        count = redis.register_script(_COUNT)
        assert count([listed]) == 0
        job = http.post("/jobs?lane=bulk", files=files).raise_for_status().json()
        seen: list[int] = []
        hidden = 0  # readings in which Celery's queue is empty and work goes on
        while True:
            waiting = redis.llen(keys.queue(Lane.BULK))
            seen.append(count([listed]))
            if http.get(f"/jobs/{job['id']}").json()["state"] == "completed":
                break
            assert seen[-1] > 0, "no lane goes to zero under work in progress"
            hidden += waiting == 0
            time.sleep(0.01)
        assert count([listed]) == 0
    assert max(seen) <= _IMAGES / PART_SIZE and seen == sorted(seen, reverse=True)
    assert hidden, "the queue's length alone would have said that nothing is left"
