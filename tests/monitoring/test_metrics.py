"""What a scrape answers: complete, and never going backwards."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from shared.observe import metrics
from shared.observe.exposition import SharedSeries, forget_dead, start_over
from shared.jobs import Lane
from tests.monitoring.conftest import Watched
from tests.monitoring.scrapes import value, wait_until


def count_in_a_process_of_its_own(folder: Path, images: int) -> None:
    """A process that counts and dies at once, as a killed pool process does."""
    code = (
        "import os; from shared.observe import metrics\n"
        f"metrics.IMAGES_FINISHED.labels('bulk', 'succeeded').inc({images})\n"
        "metrics.BATCH_IMAGES.labels('bulk').observe(8)\n"
        "os.kill(os.getpid(), 9)"
    )
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=False)


def total(folder: Path, name: str) -> float:
    samples = (s for family in SharedSeries(folder).collect() for s in family.samples)
    return sum(sample.value for sample in samples if sample.name == name)


def test_what_dead_processes_counted_stays_and_their_files_go(tmp_path: Path) -> None:
    for dead in range(1, 5):
        count_in_a_process_of_its_own(tmp_path, 3)
        assert total(tmp_path, "classifier_images_finished_total") == 3 * dead
        forget_dead(tmp_path)
        assert total(tmp_path, "classifier_images_finished_total") == 3 * dead
        assert total(tmp_path, "classifier_batch_images_sum") == 8 * dead
        assert sorted(path.name for path in tmp_path.glob("*.db")) == [
            "counter_dead.db",
            "histogram_dead.db",
        ]


def test_an_earlier_runs_counts_are_forgotten(tmp_path: Path) -> None:
    count_in_a_process_of_its_own(tmp_path, 3)
    forget_dead(tmp_path)
    start_over(tmp_path)
    assert not list(tmp_path.glob("*.db"))


def test_every_series_is_named_as_prometheus_asks() -> None:
    for name, series in vars(metrics).items():
        if not name.isupper() or name == "FOLDER":
            continue
        described = next(iter(series.describe()))
        assert described.name.startswith("classifier_")
        assert described.documentation.endswith(".")
        if described.type == "counter":
            assert not described.name.endswith("_total")  # prometheus-client appends it, once
        if "DURATION" in name:
            assert described.name.endswith("_duration_seconds")


def test_requests_and_refusals_are_told_while_redis_is_away(watched: Watched) -> None:
    service = watched.service
    watched.classify()
    service.stop_redis()
    try:
        refused = httpx.post(f"{service.base_url}/api/v1/classify", content=b"\xff\xd8\xff a")
        assert refused.status_code == 503
        text = watched.scrape()
    finally:
        service.start_redis()
    assert value(text, "classifier_redis_up") == 0
    status = {"route": "/api/v1/classify", "method": "POST", "status": "503"}
    assert value(text, "classifier_http_requests_total", **status)
    assert value(text, "classifier_refusals_total", code="unavailable", route="/api/v1/classify")
    service.await_web()
    watched.classify()


def test_a_worker_tells_what_became_of_pictures_and_where_their_time_went(
    watched: Watched,
) -> None:
    finished = "classifier_images_finished_total"
    before = value(watched.scrape(Lane.BULK), finished, lane="bulk", outcome="succeeded") or 0
    watched.run_job(40)

    def images() -> float | None:
        return value(watched.scrape(Lane.BULK), finished, lane="bulk", outcome="succeeded")

    wait_until(lambda: images() == before + 40)  # counted once the client has its answer
    text = watched.scrape(Lane.BULK)
    for stage in ("queue", "fetch", "preprocess", "inference", "commit"):
        assert value(text, f"classifier_{stage}_duration_seconds_sum", lane="bulk"), stage
    assert value(text, "classifier_batch_images_sum", lane="bulk") == before + 40
    assert value(text, "classifier_part_starts_total", lane="bulk", attempt="1")
    assert value(text, "classifier_worker_processes", lane="bulk") == 1
    assert value(text, "classifier_worker_busy_processes", lane="bulk") == 0
    assert value(watched.scrape(), "classifier_model_info") == 1


def test_a_killed_pool_process_takes_nothing_back(watched: Watched) -> None:
    finished = "classifier_images_finished_total"
    watched.run_job(3)
    before = value(watched.scrape(Lane.BULK), finished, lane="bulk", outcome="succeeded")
    started = value(watched.scrape(Lane.BULK), "classifier_pool_processes_started_total")
    assert before and started

    for killed in range(1, 4):
        os.kill(watched.service.pool_processes(Lane.BULK)[0], signal.SIGKILL)
        wait_until(
            lambda k=killed: value(  # type: ignore[misc]
                watched.scrape(Lane.BULK), "classifier_pool_processes_started_total"
            )
            == started + k
        )
    after = value(watched.scrape(Lane.BULK), finished, lane="bulk", outcome="succeeded")
    assert after == before
    folder = Path(watched.service.environment["DATA_DIR"], "metrics", "bulk")
    owners = lambda: {re.split("[_.]", path.name)[-2] for path in folder.glob("*.db")}  # noqa: E731
    wait_until(lambda: len(owners()) <= 3)  # main, its pool process, and the dead


@pytest.mark.parametrize("lane", list(Lane))
def test_no_series_is_labelled_by_what_clients_send(watched: Watched, lane: Lane) -> None:
    job_id = watched.run_job(2)
    httpx.get(f"{watched.service.base_url}/no/such/{job_id}")
    httpx.request("BREW", f"{watched.service.base_url}/jobs/{job_id}")
    text = watched.scrape() + watched.scrape(lane)
    assert job_id not in text and "BREW" not in text
