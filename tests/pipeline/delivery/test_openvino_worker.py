"""A worker with OpenVINO loses nothing when its pool processes are killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from shared.jobs import Lane
from tests.pipeline.delivery.test_recovery import finish, submit
from tests.support.local_service import LocalService, local_service
from tests.support.waiting import wait_until

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def service(
    model_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalService]:
    own = {
        "ENGINE": "openvino",
        "PRECISION": "auto",
        "BATCH_TIME_LIMIT_SECONDS": "8",
        "PART_DEADLINE_SECONDS": "10",
        "RECONCILE_SECONDS": "0.5",
    }
    with local_service(tmp_path_factory.mktemp("openvino"), model_environment | own) as running:
        running.start_worker(Lane.BULK)
        running.start_web()
        running.await_ready()
        yield running


def test_the_service_tells_its_engine_and_precision(service: LocalService) -> None:
    model = httpx.get(f"{service.base_url}/api/v1/model/info").json()
    assert model["engine"] == "openvino" and model["precision"] in ("fp32", "bf16")
    assert model["version"].endswith("-bf16") == (model["precision"] == "bf16")
    ready = httpx.get(f"{service.base_url}/readyz").json()
    assert ready == {"status": "ok"} | {name: model[name] for name in ("engine", "precision")}
    said = f"{model['version']} on openvino in {model['precision']}"
    wait_until(lambda: said in service.log(Lane.BULK), seconds=60)


def test_the_main_process_does_not_load_openvino(service: LocalService) -> None:
    """Its threads would not live on in the pool processes that it forks."""
    main = service.processes[Lane.BULK].pid
    assert "openvino" not in Path(f"/proc/{main}/maps").read_text()
    for process in service.pool_processes(Lane.BULK):
        assert "openvino" in Path(f"/proc/{process}/maps").read_text()


def test_a_pool_process_that_dies_is_replaced(service: LocalService, pictures: list[Path]) -> None:
    files = [each.read_bytes() + b"killed %d" % k for k in range(2) for each in pictures[:64]]
    with service.may_die(Lane.BULK):
        job_ids = [submit(service, files[k : k + 64]) for k in range(0, len(files), 64)]
        wait_until(lambda: _succeeded(service, job_ids[0]), seconds=60)
        victim = service.pool_processes(Lane.BULK)[-1]
        os.kill(victim, signal.SIGKILL)
        assert [finish(service, each)["succeeded"] for each in job_ids] == 2 * [64]
        wait_until(lambda: victim not in service.pool_processes(Lane.BULK))
        wait_until(lambda: len(service.pool_processes(Lane.BULK)) == 2)


def test_a_pool_process_that_stands_still_in_a_batch_is_replaced(
    service: LocalService, pictures: list[Path]
) -> None:
    """The time limit of a batch ends it.

    The limit does not begin where a process stops between two batches. So both stop, under load.
    """
    files = [each.read_bytes() + b"still %d" % k for k in range(4) for each in pictures[:64]]
    with service.may_die(Lane.BULK):
        job_ids = [submit(service, files[k : k + 64]) for k in range(0, len(files), 64)]
        wait_until(lambda: _succeeded(service, job_ids[0]), seconds=60)
        victims = service.pool_processes(Lane.BULK)
        for each in victims:
            os.kill(each, signal.SIGSTOP)
        assert [finish(service, each)["succeeded"] for each in job_ids] == 4 * [64]
        # One new process may end the jobs before the other one has started.
        wait_until(lambda: len(service.pool_processes(Lane.BULK)) == 2)
        present = service.pool_processes(Lane.BULK)
        assert {*victims} != {*present}
        for each in {*victims} & {*present}:
            os.kill(each, signal.SIGCONT)


def _succeeded(service: LocalService, job_id: str) -> int:
    job = httpx.get(f"{service.base_url}/jobs/{job_id}").json()
    return int(job["counts"]["succeeded"])
