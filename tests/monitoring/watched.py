"""The service that the tests of monitoring watch, and a collector of its spans."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from client.cli.demo import sample_pictures
from shared.jobs import Lane
from tests.support.local_service import LocalService
from tests.support.ports import free_port


class Watched:
    """A running service, and the ports of its workers' metrics."""

    def __init__(self, service: LocalService) -> None:
        self.service = service
        self.metrics_ports = {lane: free_port() for lane in Lane}
        self._pictures = 0

    def start(self) -> None:
        for lane in Lane:
            self.start_worker(lane)
        self.service.start_web()
        self.service.await_ready()

    def start_worker(self, lane: Lane) -> None:
        self.service.start_worker(lane, METRICS_PORT=str(self.metrics_ports[lane]))

    def scrape(self, lane: Lane | None = None) -> str:
        """Metrics of the lane's worker; without a lane, of web."""
        base = self.service.base_url
        url = f"http://127.0.0.1:{self.metrics_ports[lane]}" if lane else base
        return httpx.get(f"{url}/metrics", timeout=20).raise_for_status().text

    def new_picture(self) -> bytes:
        """A picture that is not cached."""
        self._pictures += 1
        return sample_pictures()[0].read_bytes() + b"%d" % self._pictures

    def classify(self, **headers: str) -> httpx.Response:
        url = f"{self.service.base_url}/api/v1/classify"
        answer = httpx.post(url, content=self.new_picture(), headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer

    def run_job(self, images: int) -> str:
        """The id of a bulk job that has completed."""
        files = [("files", (f"{k}.jpg", self.new_picture())) for k in range(images)]
        base = self.service.base_url
        answer = httpx.post(f"{base}/jobs", files=files, data={"lane": "bulk"}, timeout=60)
        job_id = str(answer.raise_for_status().json()["id"])
        job = httpx.get(f"{base}/jobs/{job_id}?wait=50", timeout=60).json()
        assert job["state"] == "completed", job
        return job_id


class Collector:
    """A real OTLP/HTTP receiver. It keeps the spans that it gets."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []  #: Each with its service's name.
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    names = {a.key: a.value.string_value for a in resource.resource.attributes}
                    for scope in resource.scope_spans:
                        spans.extend((names["service.name"], span) for span in scope.spans)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of_trace(self, trace_id: str) -> dict[str, tuple[str, Span]]:
        """The spans of a trace by their names, each with its service's name."""
        return {s.name: (name, s) for name, s in list(self.spans) if s.trace_id.hex() == trace_id}
