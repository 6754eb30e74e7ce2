"""One watched service for every test here: metrics of web and workers, JSON logs."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from client.demo import sample_pictures
from loadtest.local_service import LocalService, free_port, local_service
from shared.jobs import Lane


class Watched:
    """The service, and where its metrics are."""

    def __init__(self, service: LocalService) -> None:
        self.service = service
        self.metrics_ports = {lane: free_port() for lane in Lane}
        self._tail = 0

    def start(self) -> None:
        for lane in Lane:
            self.start_worker(lane)
        self.service.start_web()
        self.service.await_ready()

    def start_worker(self, lane: Lane) -> None:
        self.service.start_worker(lane, METRICS_PORT=str(self.metrics_ports[lane]))

    def scrape(self, lane: Lane | None = None) -> str:
        """Metrics of a worker, or of web."""
        base = self.service.base_url
        url = f"http://127.0.0.1:{self.metrics_ports[lane]}" if lane else base
        return httpx.get(f"{url}/metrics").raise_for_status().text

    def fresh_picture(self) -> bytes:
        """Bytes that no cached result answers for."""
        self._tail += 1
        return sample_pictures()[0].read_bytes() + b"%d" % self._tail

    def classify(self, **headers: str) -> httpx.Response:
        url = f"{self.service.base_url}/api/v1/classify"
        answer = httpx.post(url, content=self.fresh_picture(), headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer

    def run_job(self, images: int) -> str:
        """Submit a bulk job, wait for its end; gives its id."""
        files = [("files", (f"{k}.jpg", self.fresh_picture())) for k in range(images)]
        base = self.service.base_url
        answer = httpx.post(f"{base}/jobs", files=files, data={"lane": "bulk"}, timeout=60)
        job_id = str(answer.raise_for_status().json()["id"])
        job = httpx.get(f"{base}/jobs/{job_id}?wait=50", timeout=60).json()
        assert job["state"] == "completed", job
        return job_id


@pytest.fixture(scope="module")
def watched(
    model_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    environment = model_environment | {"LOG_FORMAT": "json", "RECONCILE_SECONDS": "1"}
    with local_service(tmp_path_factory.mktemp("watched"), environment) as service:
        running = Watched(service)
        running.start()
        yield running
