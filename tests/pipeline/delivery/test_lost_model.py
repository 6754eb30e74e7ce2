"""The model's file is damaged while a worker runs, and a pool process is replaced."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shared.jobs import Lane
from tests.support.local_service import local_service

pytestmark = pytest.mark.long


def test_a_worker_whose_new_process_cannot_load_the_model_ends(
    model_environment: dict[str, str], tmp_path: Path
) -> None:
    """Such a process would take pictures and fail each of them."""
    models = tmp_path / "models"
    shutil.copytree(model_environment["MODELS_DIR"], models)
    own = {"MODELS_DIR": str(models), "ENGINE": "onnxruntime"}
    with local_service(tmp_path, model_environment | own) as service:
        service.start_worker(Lane.INTERACTIVE)
        service.start_web()
        service.await_ready()
        for path in models.rglob("*.onnx"):
            path.write_bytes(path.read_bytes()[:1000])
        with service.may_die(Lane.INTERACTIVE):
            service.kill_pool_process(Lane.INTERACTIVE)
            assert service.processes[Lane.INTERACTIVE].wait(timeout=60) == 0
        log = service.log(Lane.INTERACTIVE)
        assert "no engine, so the worker ends" in log and str(models) in log
