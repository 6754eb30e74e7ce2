"""A worker that cannot load its model does not start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def test_a_worker_without_its_weights_logs_why_and_ends(redis_url: str, tmp_path: Path) -> None:
    environment = os.environ | {
        "REDIS_URL": redis_url,
        "DATA_DIR": str(tmp_path),
        "MODEL_WEIGHTS": str(tmp_path / "nothing.safetensors"),
        "LOG_FORMAT": "text",
    }
    worker = subprocess.run(
        [sys.executable, "-m", "celery", "--quiet", "-A", "workers.app", "worker"],
        cwd=_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert worker.returncode == 2
    assert "CRITICAL" in worker.stdout and "nothing.safetensors" in worker.stdout
    assert "Traceback" not in worker.stdout + worker.stderr


def test_a_pool_process_has_minutes_to_load_the_model(redis_url: str) -> None:
    """Each bulk worker of a very busy machine was killed while it loaded the model."""
    read = "from workers.app import app; print(app.conf.worker_proc_alive_timeout)"
    printed = subprocess.check_output(
        [sys.executable, "-c", read], cwd=_ROOT, env=os.environ | {"REDIS_URL": redis_url}
    )
    assert float(printed) >= 300


def test_a_worker_of_one_process_has_another_for_slow_pictures(redis_url: str) -> None:
    """It holds no more messages for that."""
    read = (
        "from workers.app import Settings, Lane, make_worker\n"
        "for lane in Lane:\n"
        "  for processes in (1, 2, 4):\n"
        "    conf = make_worker(Settings(lane=lane, worker_processes=processes)).conf\n"
        "    started = conf.worker_concurrency\n"
        "    print(lane.value, started, started * conf.worker_prefetch_multiplier)"
    )
    printed = subprocess.check_output(
        [sys.executable, "-c", read], cwd=_ROOT, env=os.environ | {"REDIS_URL": redis_url}
    )
    assert printed.decode().splitlines() == [
        "interactive 2 32",
        "interactive 2 64",
        "interactive 4 128",
        "bulk 2 2",
        "bulk 2 4",
        "bulk 4 8",
    ]
