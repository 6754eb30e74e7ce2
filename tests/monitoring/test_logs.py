"""Real log lines, and the log stack's configuration compared with them."""

from __future__ import annotations

import base64
import json
import re
import socket
from typing import Any

import httpx
import pytest
import yaml

from shared.jobs import Lane, PartRef
from shared.message import message
from shared.observe import log
from shared.observe.tracing import TraceContext
from shared.records.overdue.recovery import Recovered
from tests.monitoring.log_lines import (
    LOGGING,
    Line,
    flat,
    lines_of,
    saved_objects,
    template_fields,
    template_properties,
)
from tests.monitoring.watched import Watched
from tests.support.waiting import wait_until

_SECRET = "imgc_a-key-that-must-not-be-logged"

#: Fields that filebeat (`host.name`) and logstash add.
_OF_LOGSTASH = {"tags", "event.outcome", "user.name", "host.name"} | {
    *("container.id", "container.name", "kubernetes.namespace", "kubernetes.pod.name")
}
#: Fields of lines that are too rare to be written here.
_RARE = {"parts.requeued", "parts.split", "parts.buried"}

#: The field of an operator's calls, of which the service has none here.
_OF_OPERATORS = {"event.action"}


class Logged:
    """Some requests of each kind, and all lines that the service has logged."""

    def __init__(self, watched: Watched) -> None:
        self.answer = watched.classify(Authorization=f"Bearer {_SECRET}")
        self.job_id = watched.run_job(40)
        self._refuse_a_request(watched)
        self._fail_a_batch(watched)
        self.raw = {name: watched.service.log(name) for name in ("web", *Lane)}
        self.web = lines_of(self.raw["web"])
        self.workers = [line for lane in Lane for line in lines_of(self.raw[lane])]
        self.lines = [*self.web, *self.workers]

    def _refuse_a_request(self, watched: Watched) -> None:
        """Redis is away, so that an error is logged."""
        watched.service.stop_redis()
        try:
            url = f"{watched.service.base_url}/api/v1/classify"
            assert httpx.post(url, content=watched.new_picture()).status_code == 503
        finally:
            watched.service.start_redis()
        watched.service.await_web()

    def _fail_a_batch(self, watched: Watched) -> None:
        """A message without a part raises in the pool process, so that an error is logged."""
        broken = json.loads(message(Lane.BULK, [PartRef("x", 0, 1)]))
        broken["body"] = base64.b64encode(b'[[[["x"]]], {}, {}]').decode()
        watched.service.redis().lpush(Lane.BULK, json.dumps(broken))
        wait_until(lambda: "messages failed" in watched.service.log("bulk"))

    def batches(self, job_id: str) -> list[Line]:
        batches = (line for line in self.workers if line["event.dataset"] == log.BATCH)
        return [line for line in batches if job_id in line["job.id"]]


@pytest.fixture(scope="module")
def logged(watched: Watched) -> Logged:
    return Logged(watched)


def test_a_picture_is_followed_from_its_request_into_its_micro_batch(logged: Logged) -> None:
    context = TraceContext.from_header(logged.answer.headers["traceparent"])
    assert context
    [request] = [each for each in logged.web if each.get("trace.id") == context.trace_id]
    assert request["event.dataset"] == log.REQUEST
    assert request["http.request.id"] == logged.answer.headers["X-Request-Id"]
    assert (request["url.path"], request["http.route"]) == ("/api/v1/classify",) * 2
    assert (request["http.response.status_code"], request["http.request.method"]) == (200, "POST")
    assert 0 < request["event.duration"] < 60e9

    [batch] = logged.batches(request["job.id"])
    assert batch["trace.id"] == [context.trace_id]
    assert batch["lane"] == "interactive"
    assert batch["part.id"] == [f"{request['job.id']}:0:1"]
    assert len(batch["task.id"]) == 1
    assert batch["service.name"] == "classifier-worker"
    assert request["service.name"] == "classifier-web"
    stages = sum(batch[f"batch.{s}_ms"] for s in ("fetch", "preprocess", "inference", "commit"))
    assert 0 < stages * 1e6 <= 1.01 * batch["event.duration"]


def test_each_request_and_each_micro_batch_has_one_line(logged: Logged) -> None:
    submitted = [each for each in logged.web if each.get("job.id") == logged.job_id]
    assert sorted(each["http.request.method"] for each in submitted) == ["GET", "POST"]
    batches = logged.batches(logged.job_id)
    assert sum(batch["batch.images"] for batch in batches) == 40
    assert not [each for each in logged.web if each.get("http.route") in ("/readyz", "/metrics")]


def test_no_line_has_a_picture_or_a_key(logged: Logged) -> None:
    text = "".join(logged.raw.values())
    assert _SECRET not in text
    assert "JFIF" not in text and "\\\\x89PNG" not in text and "\\u0089PNG" not in text


def test_the_index_template_lists_every_field_of_the_lines_and_no_other(logged: Logged) -> None:
    fields = {name for line in logged.lines for name in line}
    assert fields - template_fields() == set()
    assert template_fields() - fields - _RARE - _OF_OPERATORS == _OF_LOGSTASH


def test_the_rare_fields_are_those_of_the_reconcilers_line() -> None:
    assert _RARE == {f"parts.{name}" for name in Recovered._fields}


def test_fields_have_the_types_of_the_index_template(logged: Logged) -> None:
    python = {"long": (int,), "float": (int, float)}

    def kind(name: str) -> str:
        spec: Any = {"properties": template_properties()}
        for step in name.split("."):
            spec = spec["properties"][step]
        return str(spec["type"])

    kinds = {name: kind(name) for line in logged.lines for name in line}
    for line in logged.lines:
        for name, value in line.items():
            for each in value if isinstance(value, list) else [value]:
                assert isinstance(each, python.get(kinds[name], (str,))), (name, value)


def test_kibanas_queries_name_existing_kinds_of_lines(logged: Logged) -> None:
    text = json.dumps(saved_objects())
    datasets = set(re.findall(r"event\.dataset: [\\\"]+([\w.]+)", text))
    assert datasets == {log.REQUEST, log.BATCH}
    assert datasets <= {line["event.dataset"] for line in logged.lines}
    assert {"error", "info"} <= {line["log.level"] for line in logged.lines}


def pipeline() -> str:
    return (LOGGING / "logstash/pipeline/classifier.conf").read_text()


def test_the_pipeline_accepts_our_lines_and_no_others(logged: Logged) -> None:
    is_json, is_ours = map(re.compile, re.findall(r"!~ /(.+)/ \{", pipeline()))

    def accepted(line: str) -> bool:
        if not is_json.search(line):
            return False
        return bool(is_ours.search(str(flat(json.loads(line)).get("event.dataset"))))

    lines = [line for text in logged.raw.values() for line in text.splitlines()]
    assert sum(map(accepted, lines)) == len(logged.lines) > 10
    for other in (
        "1:M 01 Jan 2026 Ready to accept connections",
        "Traceback (most recent call last):",
        '{"@timestamp":"2026-01-01T00:00:00Z","event":{"dataset":"elasticsearch.server"}}',
        '{"@timestamp":"2026-01-01T00:00:00Z","log.level":"INFO"}',
        "{}",
    ):
        assert not accepted(other)


def _place(path: str) -> dict[str, str]:
    """The fields that logstash takes from the path of a log file."""
    patterns = re.findall(r'"(\^/var/[^"]+)"', pipeline())
    assert len(patterns) == 2
    for pattern in patterns:
        names = re.findall(r"%\{DATA:((?:\[\w+\])+)\}", pattern)
        regex = re.sub(r"%\{DATA(:[^}]+)?\}", lambda m: "(.*?)" if m[1] else ".*?", pattern)
        if found := re.match(regex, path):
            return dict(zip(map(dotted, names), found.groups(), strict=True))
    return {}


def test_a_line_carries_its_pod_or_its_container(logged: Logged) -> None:
    pod = "/var/log/pods/image-classifier_web-6d9f-x2x_0a1b-2c3d/web/0.log"
    assert _place(pod) == {
        "kubernetes.namespace": "image-classifier",
        "kubernetes.pod.name": "web-6d9f-x2x",
        "container.name": "web",
    }
    container = "/var/lib/docker/containers/0a1b2c/0a1b2c-json.log"
    assert _place(container) == {"container.id": "0a1b2c"}
    assert set(_place(pod)) | set(_place(container)) <= template_fields()
    # Without the log stack, the line itself has the name of its container or Pod.
    assert {line["service.node.name"] for line in logged.lines} == {socket.gethostname()}


def test_filebeat_adds_the_machine_and_logstash_keeps_it() -> None:
    for file in ("logging/filebeat.yml", "k8s/components/logging/filebeat.yml"):
        assert yaml.safe_load((LOGGING.parent / file).read_text())["name"].startswith("${")
    [removed] = re.findall(r"remove_field => \[(.*)\]", pipeline())
    assert "[host]" not in removed


def dotted(reference: str) -> str:
    """`[http][route]` -> `http.route`."""
    return ".".join(re.findall(r"\[([\w.]+)\]", reference))


def test_real_lines_meet_the_pipelines_conditions(logged: Logged) -> None:
    text = re.sub(r"#.*", "", pipeline())
    equal = re.findall(r'((?:\[\w+\])+) == "([^"]+)"', text)
    above = re.findall(r"((?:\[\w+\])+) >=? (\d+)", text)
    assert len(equal) == 2 and len(above) == 2
    for reference, value in equal:
        assert any(line.get(dotted(reference)) == value for line in logged.lines), reference
    for reference, _ in above:
        name = dotted(reference)
        values = [line[name] for line in logged.lines if name in line]
        assert values and all(isinstance(value, int) for value in values)
    [status] = [int(bound) for reference, bound in above if "status_code" in reference]
    requests = [line for line in logged.web if "http.route" in line]
    assert {line["http.response.status_code"] >= status for line in requests} == {True, False}


def test_the_pipeline_renames_and_adds_existing_fields(logged: Logged) -> None:
    text = re.sub(r"#.*", "", pipeline())
    renamed = re.findall(r'"\[([\w.]+)\]" => "((?:\[\w+\])+)"', text)
    raw = [json.loads(each) for each in logged.raw["web"].splitlines() if each.startswith("{")]
    for name, nested in renamed:
        assert dotted(nested) == name and all(name in line for line in raw)
    added = re.findall(r'add_field => \{ "((?:\[\w+\])+)"', text)
    assert {dotted(each) for each in added} <= template_fields()


@pytest.mark.parametrize("file", ["logging/filebeat.yml", "k8s/components/logging/filebeat.yml"])
def test_filebeat_reads_a_log_from_its_first_line(logged: Logged, file: str) -> None:
    """It identifies a file by its first bytes, and skips a file that has fewer."""
    [files] = yaml.safe_load((LOGGING.parent / file).read_text())["filebeat.inputs"]
    needed = files["prospector.scanner.fingerprint.length"]
    ours = [line for text in logged.raw.values() for line in text.splitlines() if line[:1] == "{"]
    assert 64 <= needed <= min(map(len, ours)), "filebeat allows no less than 64"
