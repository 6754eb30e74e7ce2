"""The autoscaler's query. Its answer falls to zero with a lane's last commit, and not before."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest
import yaml

from shared.jobs import PART_SIZE, Lane
from shared.serving import model_versions
from tests.support.local_service import LocalService

_ROOT = Path(__file__).parents[3]

# KEDA's redis scaler sends a script that counts by the key's type. Its documentation names lists
# alone; its source (pkg/scalers/redis_scaler.go, 2.20) also handles sorted sets, sets and hashes.
COUNT = """
local kind = redis.call('TYPE', KEYS[1]).ok
local count = {list = 'LLEN', none = 'LLEN', zset = 'ZCARD', set = 'SCARD', hash = 'HLEN'}
return redis.call(count[kind], KEYS[1])
"""
_IMAGES = 6 * PART_SIZE


def _key_of_the_scaler(lane: Lane) -> str:
    """The key that the lane's ScaledObject names."""
    objects = yaml.safe_load_all((_ROOT / "k8s/base/scaled-objects.yaml").read_text())
    [scaler] = [o for o in objects if o["metadata"]["name"] == f"worker-{lane}"]
    name: str = scaler["spec"]["triggers"][0]["metadata"]["listName"]
    return name


@pytest.mark.long
def test_the_scaler_sees_work_until_the_last_part_is_committed(
    service: LocalService, http: httpx.Client, pictures: list[Path]
) -> None:
    key = _key_of_the_scaler(Lane.BULK)
    files = [
        ("files", (f"{k}.jpg", pictures[k % len(pictures)].read_bytes() + b"keda%d" % k))
        for k in range(_IMAGES)
    ]
    with service.redis() as redis:
        count = redis.register_script(COUNT)
        assert count([key]) == 0
        job = http.post("/jobs?lane=bulk", files=files).raise_for_status().json()
        seen: list[int] = []
        empty_queue = 0  # readings at which Celery's queue is empty while work goes on
        while True:
            waiting = model_versions.waiting(redis, Lane.BULK).total()
            seen.append(count([key]))
            if http.get(f"/jobs/{job['id']}").json()["state"] == "completed":
                break
            assert seen[-1] > 0, "the lane must not go to zero while work goes on"
            empty_queue += waiting == 0
            time.sleep(0.01)
        assert count([key]) == 0
    assert max(seen) <= _IMAGES / PART_SIZE and seen == sorted(seen, reverse=True)
    assert empty_queue, "the queue's length alone would have shown that nothing is left"
