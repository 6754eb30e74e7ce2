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
