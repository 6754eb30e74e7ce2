"""A trace from a request through the queue into the micro-batch, as a collector receives it."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from shared.jobs import Lane
from shared.observe.tracing import TraceContext
from tests.client.scripted_server import Answer, in_order, scripted_server
from tests.monitoring.watched import Collector, Watched
from tests.monitoring.watchers import ROOT
from tests.support.waiting import wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def ids(answer: httpx.Response) -> TraceContext:
    context = TraceContext.from_header(answer.headers["traceparent"])
    assert context
    return context


def micro_batches(collector: Collector) -> dict[bytes, Span]:
    return {span.span_id: span for _, span in list(collector.spans) if span.name == "micro-batch"}


def test_one_picture_is_one_trace_from_upload_to_commit(
    watched: Watched, collector: Collector
) -> None:
    answer = watched.classify(traceparent=f"00-{TRACE}-{PARENT}-01")
    own = ids(answer)
    assert (own.trace_id, own.sampled) == (TRACE, True)

    names = {"POST /api/v1/classify", "upload", "queue", "micro-batch"}
    names |= {"fetch", "preprocess", "inference", "commit"}
    wait_until(lambda: set(collector.of_trace(TRACE)) == names)
    spans = collector.of_trace(TRACE)
    parents = {name: span.parent_span_id.hex() for name, (_, span) in spans.items()}
    services = {name: service for name, (service, _) in spans.items()}
    batch = spans["micro-batch"][1]
    assert parents["POST /api/v1/classify"] == PARENT
    assert spans["POST /api/v1/classify"][1].span_id.hex() == own.span_id
    assert parents["upload"] == parents["queue"] == parents["micro-batch"] == own.span_id
    for stage in ("fetch", "preprocess", "inference", "commit"):
        assert parents[stage] == batch.span_id.hex()
        assert services[stage] == "classifier-worker"
    assert services["upload"] == "classifier-web"
    times = [spans[n][1].start_time_unix_nano for n in ("upload", "queue", "micro-batch")]
    assert times == sorted(times)
    assert spans["queue"][1].end_time_unix_nano == batch.start_time_unix_nano


def test_a_micro_batch_of_several_requests_is_linked_with_every_part(
    watched: Watched, collector: Collector
) -> None:
    watched.service.stop(Lane.INTERACTIVE)

    def ask() -> str:
        url = f"{watched.service.base_url}/api/v1/classify?wait=0"
        header = {"traceparent": f"00-{os.urandom(16).hex()}-{PARENT}-01"}
        picture = watched.new_picture()
        return ids(httpx.post(url, content=picture, headers=header, timeout=60)).trace_id

    try:
        with ThreadPoolExecutor(5) as clients:
            traces = set(clients.map(lambda _: ask(), range(5)))
    finally:
        watched.start_worker(Lane.INTERACTIVE)
    wait_until(lambda: all("queue" in collector.of_trace(trace) for trace in traces), 30)
    waits = [collector.of_trace(trace)["queue"][1] for trace in traces]
    # A micro-batch ends after the waits that lead to it, so it may arrive with a later export.
    wait_until(lambda: {w.links[0].span_id for w in waits} <= set(micro_batches(collector)), 30)
    batches = micro_batches(collector)
    for wait in waits:
        [to_batch] = wait.links
        batch = batches[to_batch.span_id]
        assert wait.span_id in {link.span_id for link in batch.links}
        assert {a.key for a in wait.attributes} == {"job.id", "part.id", "items"}
    linked = [batches[wait.links[0].span_id] for wait in waits]
    assert any(len(batch.links) > 1 and not batch.parent_span_id for batch in linked)


def test_a_trace_that_is_not_sampled_keeps_its_id_and_is_not_exported(
    watched: Watched, collector: Collector
) -> None:
    trace = os.urandom(16).hex()
    answer = watched.classify(traceparent=f"00-{trace}-{PARENT}-00")
    assert ids(answer).trace_id == trace and not ids(answer).sampled
    watched.classify(traceparent=f"00-{os.urandom(16).hex()}-{PARENT}-01")
    assert collector.of_trace(trace) == {}


@pytest.mark.parametrize(
    "header",
    [
        "nonsense",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\tx",
    ],
)
def test_a_malformed_traceparent_begins_a_new_trace(header: str) -> None:
    assert TraceContext.from_header(header) is None
    assert TraceContext.below(None).trace_id != TraceContext.below(None).trace_id


def test_the_known_fields_of_a_later_version_are_read() -> None:
    context = TraceContext.from_header(f"01-{TRACE}-{PARENT}-03-more")
    assert context == TraceContext(TRACE, PARENT, sampled=True)


#: Makes an installation without requirements/tracing.txt.
_WITHOUT = """
import os, sys
class Missing:
    def find_spec(self, name, *_):
        if name.split(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
"""


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize(
    "program",
    ["from web.app import create_app; create_app()", "import workers.app, workers.flower"],
)
def test_without_a_collector_nothing_of_opentelemetry_is_loaded(
    program: str, installed: bool, redis_url: str
) -> None:
    # redis-py loads OpenTelemetry's metrics itself where they are installed.
    ours = ("opentelemetry.sdk.trace", "opentelemetry.exporter") if installed else "opentelemetry"
    code = "import os, sys" if installed else _WITHOUT
    code += (
        f"\n{program}\nloaded = [name for name in list(sys.modules) if name.startswith({ours!r})]\n"
    )
    code += "print(loaded, flush=True); os._exit(bool(loaded))"
    environment = {n: v for n, v in os.environ.items() if not n.startswith("OTEL")}
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"REDIS_URL": redis_url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


EXPORT = """
from shared.observe import tracing
from shared.settings import Settings
tracing.configure(Settings(), "test")
tracing.begin("a", parent=None).end()
tracing.stop()
"""


def test_a_collector_on_this_machine_is_reached_without_a_proxy() -> None:
    with scripted_server(in_order(Answer(200, {}))) as collector:
        environment = os.environ | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "http_proxy": "http://127.0.0.1:9",
            "REQUESTS_CA_BUNDLE": "/nonexistent",
        }
        subprocess.run([sys.executable, "-c", EXPORT], env=environment, cwd=ROOT, check=True)
    assert [request.path for request in collector.requests] == ["/v1/traces"]
