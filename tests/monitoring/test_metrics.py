"""A scrape shows everything that was counted, and counters never go back."""

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
from shared.observe.exposition import SharedSeries, start_over
from shared.jobs import Lane
from tests.monitoring.scrapes import value
from tests.monitoring.watched import Watched
from tests.support.waiting import wait_until


def count_in_a_process(folder: Path, images: int, name: str = "bulk0") -> None:
    """A process that counts and is killed at once, as a pool process may be."""
    code = (
        "import os; from shared.observe import metrics\n"
        f"metrics.count_as({name!r})\n"
        f"metrics.IMAGES_FINISHED.labels('bulk', 'succeeded').inc({images})\n"
        "metrics.BATCH_IMAGES.labels('bulk').observe(8)\n"
        "os.kill(os.getpid(), 9)"
    )
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=False)


def total(folder: Path, name: str) -> float:
    samples = (s for family in SharedSeries(folder).collect() for s in family.samples)
    return sum(sample.value for sample in samples if sample.name == name)


def test_a_process_goes_on_counting_where_a_dead_one_stopped(tmp_path: Path) -> None:
    for deaths in range(1, 5):
        count_in_a_process(tmp_path, 3)
        assert total(tmp_path, "classifier_images_finished_total") == 3 * deaths
        assert total(tmp_path, "classifier_batch_images_sum") == 8 * deaths
    files = sorted(path.name for path in tmp_path.glob("*.db"))
    assert files == ["counter_bulk0.db", "histogram_bulk0.db"]


def test_what_several_processes_count_is_added_up(tmp_path: Path) -> None:
    for number in range(2):
        count_in_a_process(tmp_path, 3, f"bulk{number}")
    assert total(tmp_path, "classifier_images_finished_total") == 6
    assert total(tmp_path, "classifier_batch_images_count") == 2


def test_the_counts_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    count_in_a_process(tmp_path, 3)
    own = tmp_path / f"counter_{os.getpid()}.db"
    own.touch()
    start_over(tmp_path)
    assert list(tmp_path.glob("*.db")) == [own]


@pytest.mark.parametrize(
    "damaged", [b"", b"\xff", b"\xff\xff\x00\x00" + bytes(100)], ids=["empty", "short", "corrupt"]
)
def test_a_damaged_file_is_left_out(tmp_path: Path, damaged: bytes) -> None:
    count_in_a_process(tmp_path, 3)
    (tmp_path / "counter_bulk1.db").write_bytes(damaged)
    assert total(tmp_path, "classifier_images_finished_total") == 3


def test_every_series_has_a_name_as_prometheus_recommends() -> None:
    for name, series in vars(metrics).items():
        if not name.isupper() or name == "FOLDER":
            continue
        described = next(iter(series.describe()))
        assert described.name.startswith("classifier_")
        assert described.documentation.endswith(".")
        if described.type == "counter":
            assert not described.name.endswith("_total")  # prometheus-client appends it
        if "DURATION" in name:
            assert described.name.endswith("_duration_seconds")


def test_a_scrape_shows_requests_and_refusals_while_redis_is_away(watched: Watched) -> None:
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


def test_a_worker_counts_outcomes_and_the_time_of_each_stage(
    watched: Watched,
) -> None:
    finished = "classifier_images_finished_total"
    before = value(watched.scrape(Lane.BULK), finished, lane="bulk", outcome="succeeded") or 0
    watched.run_job(40)

    def images() -> float | None:
        return value(watched.scrape(Lane.BULK), finished, lane="bulk", outcome="succeeded")

    def busy() -> float | None:
        return value(watched.scrape(Lane.BULK), "classifier_worker_busy_processes", lane="bulk")

    wait_until(lambda: images() == before + 40)  # counted once the client has its answer
    wait_until(lambda: busy() == 0)  # the main process hears of it last
    text = watched.scrape(Lane.BULK)
    for stage in ("queue", "fetch", "preprocess", "inference", "commit"):
        assert value(text, f"classifier_{stage}_duration_seconds_sum", lane="bulk"), stage
    assert value(text, "classifier_batch_images_sum", lane="bulk") == before + 40
    assert value(text, "classifier_part_starts_total", lane="bulk", attempt="1")
    assert value(text, "classifier_worker_processes", lane="bulk") == 2
    assert value(watched.scrape(), "classifier_model_info") == 1


def test_a_killed_pool_process_takes_nothing_back(watched: Watched) -> None:
    def counted(name: str, **labels: str) -> float:
        return value(watched.scrape(Lane.BULK), f"classifier_{name}_total", **labels) or 0

    def finished() -> float:
        return counted("images_finished", lane="bulk", outcome="succeeded")

    before = finished()
    watched.run_job(3)
    wait_until(lambda: finished() == before + 3)  # a worker counts after the client has its answer
    started = counted("pool_processes_started")
    assert started
    for deaths in range(1, 4):
        watched.service.kill_pool_process(Lane.BULK)
        wait_until(lambda: counted("pool_processes_started") == started + deaths)
    assert finished() == before + 3
    folder = Path(watched.service.environment["DATA_DIR"], "metrics", "bulk")
    owners = {re.split("[_.]", path.name)[-2] for path in folder.glob("*.db")}
    assert len(owners) <= 3, "the main process and its two pool processes"


def test_a_killed_web_process_takes_nothing_back_and_an_empty_file_harms_nothing(
    watched: Watched,
) -> None:
    def accepted() -> float | None:
        return value(watched.scrape(), "classifier_images_accepted_total", lane="bulk")

    service = watched.service
    watched.run_job(3)
    before = accepted()
    assert before
    folder = Path(service.environment["DATA_DIR"], "metrics", "web")
    (folder / "counter_999999.db").touch()
    with service.may_die("web"):
        killed = service.web_process()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: service.web_process() != killed)
        service.await_web()
    assert service.processes["web"].poll() is None
    assert accepted() == before
    owners = {re.split("[_.]", path.name)[-2] for path in folder.glob("*.db")}
    assert owners == {"web0", "999999"}


@pytest.mark.parametrize("lane", list(Lane))
def test_no_series_is_labelled_by_what_clients_send(watched: Watched, lane: Lane) -> None:
    job_id = watched.run_job(2)
    httpx.get(f"{watched.service.base_url}/no/such/{job_id}")
    httpx.request("BREW", f"{watched.service.base_url}/jobs/{job_id}")
    text = watched.scrape() + watched.scrape(lane)
    assert job_id not in text and "BREW" not in text
