"""Real log lines, and the configuration of the log stack held against them."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
import yaml

from shared.observe import log
from shared.jobs import Lane, PartRef
from shared.message import message
from shared.records.overdue.recovery import Recovered
from shared.observe.tracing import TraceContext
from tests.monitoring.conftest import ROOT, Watched
from tests.monitoring.scrapes import wait_until

_LOGGING = ROOT / "logging"
_SECRET = "imgc_a-key-that-nobody-must-see"

#: Said by logstash, not by us; and by what happens too rarely to be made to happen here.
_ELSEWHERE = {"tags", "event.outcome", "user.name"}
_RARE = {"parts.requeued", "parts.split", "parts.buried"}

Line = dict[str, Any]


def flat(line: Line, before: str = "") -> Line:
    """Values by dotted name."""
    found: Line = {}
    for name, value in line.items():
        if isinstance(value, dict):
            found |= flat(value, f"{before}{name}.")
        else:
            found[before + name] = value
    return found


def lines_of(watched: Watched, name: str) -> list[Line]:
    text = watched.service.log(name)
    return [flat(json.loads(line)) for line in text.splitlines() if line.startswith('{"@timestamp')]


class Told:
    """What was asked of the service, and what its logs say of it."""

    def __init__(self, watched: Watched) -> None:
        self.answer = watched.classify(Authorization=f"Bearer {_SECRET}")
        self.job_id = watched.run_job(40)
        watched.service.stop_redis()
        try:
            self.refused = httpx.post(
                f"{watched.service.base_url}/api/v1/classify", content=watched.fresh_picture()
            )
        finally:
            watched.service.start_redis()
        watched.service.await_web()
        self._fail_a_batch(watched)
        self.raw = {name: watched.service.log(name) for name in ("web", *Lane)}
        self.web = lines_of(watched, "web")
        self.workers = {lane: lines_of(watched, lane) for lane in Lane}
        self.lines = [*self.web, *(line for lane in Lane for line in self.workers[lane])]

    def _fail_a_batch(self, watched: Watched) -> None:
        """A message that names no part: the pool process raises, and an error line is written."""
        broken = json.loads(message(Lane.BULK, [PartRef("x", 0, 1)]))
        broken["body"] = base64.b64encode(b'[[[["x"]]], {}, {}]').decode()
        watched.service.redis().lpush(Lane.BULK, json.dumps(broken))
        wait_until(lambda: "messages failed" in watched.service.log("bulk"))

    def batches(self, job_id: str) -> list[Line]:
        every = [line for lane in Lane for line in self.workers[lane]]
        return [
            line
            for line in every
            if line["event.dataset"] == log.BATCH and job_id in line["job.id"]
        ]


@pytest.fixture(scope="module")
def told(watched: Watched) -> Told:
    return Told(watched)


def test_a_picture_is_followed_from_its_request_into_its_micro_batch(told: Told) -> None:
    context = TraceContext.from_header(told.answer.headers["traceparent"])
    assert context
    [request] = [each for each in told.web if each.get("trace.id") == context.trace_id]
    assert request["event.dataset"] == log.REQUEST
    assert request["http.request.id"] == told.answer.headers["X-Request-Id"]
    assert (request["url.path"], request["http.route"]) == ("/api/v1/classify",) * 2
    assert (request["http.response.status_code"], request["http.request.method"]) == (200, "POST")
    assert 0 < request["event.duration"] < 60e9

    [batch] = told.batches(request["job.id"])
    assert batch["trace.id"] == [context.trace_id]
    assert batch["lane"] == "interactive"
    assert batch["part.id"] == [f"{request['job.id']}:0:1"]
    assert len(batch["task.id"]) == 1
    assert (batch["service.name"], request["service.name"]) == (
        "classifier-worker",
        "classifier-web",
    )
    stages = sum(batch[f"batch.{s}_ms"] for s in ("fetch", "preprocess", "inference", "commit"))
    assert 0 < stages * 1e6 <= 1.01 * batch["event.duration"]


def test_there_is_one_line_for_a_request_and_one_for_a_micro_batch(told: Told) -> None:
    submitted = [each for each in told.web if each.get("job.id") == told.job_id]
    assert sorted(each["http.request.method"] for each in submitted) == ["GET", "POST"]
    batches = told.batches(told.job_id)
    assert sum(batch["batch.images"] for batch in batches) == 40
    assert not [each for each in told.web if each.get("http.route") in ("/readyz", "/metrics")]


def test_no_line_has_a_picture_or_a_key(told: Told, watched: Watched) -> None:
    text = "".join(told.raw.values())
    assert _SECRET not in text
    assert "JFIF" not in text and "\\\\x89PNG" not in text and "\\u0089PNG" not in text


def template_fields() -> set[str]:
    text = (_LOGGING / "elasticsearch/index-template.json").read_text()
    mappings = json.loads(text)["template"]["mappings"]

    def names(properties: dict[str, Any], before: str = "") -> Iterator[str]:
        for name, spec in properties.items():
            if "properties" in spec:
                yield from names(spec["properties"], f"{before}{name}.")
            else:
                yield before + name

    return set(names(mappings["properties"]))


def test_the_index_template_lists_every_field_that_lines_carry_and_no_other(told: Told) -> None:
    carried = {name for line in told.lines for name in line}
    assert carried - template_fields() == set()
    assert template_fields() - carried - _RARE == _ELSEWHERE


def test_the_rare_fields_are_those_of_the_reconcilers_line() -> None:
    assert _RARE == {f"parts.{name}" for name in Recovered._fields}


def test_fields_are_of_the_types_that_the_template_says(told: Told) -> None:
    text = (_LOGGING / "elasticsearch/index-template.json").read_text()
    properties = json.loads(text)["template"]["mappings"]["properties"]
    python = {"long": (int,), "float": (int, float)}

    def kind(name: str) -> str:
        spec: Any = {"properties": properties}
        for step in name.split("."):
            spec = spec["properties"][step]
        return str(spec["type"])

    for line in told.lines:
        for name, value in line.items():
            for each in value if isinstance(value, list) else [value]:
                assert isinstance(each, python.get(kind(name), (str,))), (name, value)


def saved_objects() -> list[dict[str, Any]]:
    text = (_LOGGING / "kibana/saved-objects.ndjson").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_every_reference_in_kibana_resolves() -> None:
    objects = saved_objects()
    known = {(each["type"], each["id"]) for each in objects}
    assert len(known) == len(objects)
    for each in objects:
        attributes = json.dumps(each["attributes"])
        names = {reference["name"] for reference in each["references"]}
        used = set(re.findall(r'(?:panelRefName|indexRefName)\\+": \\+"([\w.]+)', attributes))
        assert names == used, each["id"]
        for reference in each["references"]:
            assert (reference["type"], reference["id"]) in known


def test_kibana_asks_only_for_fields_that_there_are() -> None:
    asked = set()
    for each in saved_objects():
        attributes = each["attributes"]
        asked |= set(re.findall(r'"field": "([^"]+)"', attributes.get("visState", "")))
        asked |= set(attributes.get("columns", [])) | {
            name for name, _ in attributes.get("sort", [])
        }
        source = attributes.get("kibanaSavedObjectMeta", {}).get("searchSourceJSON", "{}")
        query = json.loads(source).get("query", {}).get("query", "")
        asked |= set(re.findall(r"([\w.@]+):", query))
        asked |= set(json.loads(attributes.get("fieldFormatMap", "{}")))
    assert asked and asked <= template_fields()


def test_kibanas_queries_name_kinds_of_lines_that_there_are(told: Told) -> None:
    text = (_LOGGING / "kibana/saved-objects.ndjson").read_text()
    datasets = set(re.findall(r"event\.dataset: [\\\"]+([\w.]+)", text))
    assert datasets == {log.REQUEST, log.BATCH}
    assert datasets <= {line["event.dataset"] for line in told.lines}
    assert {"error", "info"} <= {line["log.level"] for line in told.lines}


def pipeline() -> str:
    return (_LOGGING / "logstash/pipeline/classifier.conf").read_text()


def test_the_pipeline_knows_our_lines_from_others(told: Told) -> None:
    is_json, is_ours = map(re.compile, re.findall(r"!~ /(.+)/ \{", pipeline()))

    def taken(line: str) -> bool:
        if not is_json.search(line):
            return False
        return bool(is_ours.search(str(flat(json.loads(line)).get("event.dataset"))))

    lines = [line for text in told.raw.values() for line in text.splitlines()]
    assert sum(map(taken, lines)) == len(told.lines) > 10
    for other in (
        "1:M 01 Jan 2026 Ready to accept connections",
        "Traceback (most recent call last):",
        '{"@timestamp":"2026-01-01T00:00:00Z","event":{"dataset":"elasticsearch.server"}}',
        '{"@timestamp":"2026-01-01T00:00:00Z","log.level":"INFO"}',
        "{}",
    ):
        assert not taken(other)


def test_the_pipelines_conditions_are_met_by_real_lines(told: Told) -> None:
    lines = told.lines

    def name(reference: str) -> str:
        return ".".join(re.findall(r"\[([\w.]+)\]", reference))

    text = re.sub(r"#.*", "", pipeline())
    equal = re.findall(r'((?:\[\w+\])+) == "([^"]+)"', text)
    above = re.findall(r"((?:\[\w+\])+) >=? (\d+)", text)
    assert len(equal) == 2 and len(above) == 2
    for reference, value in equal:
        assert any(line.get(name(reference)) == value for line in lines), (reference, value)
    for reference, _ in above:
        values = [line[name(reference)] for line in lines if name(reference) in line]
        assert values and all(isinstance(value, int) for value in values)
    [status] = [int(bound) for reference, bound in above if "status_code" in reference]
    found = {
        line["http.response.status_code"] >= status for line in told.web if "http.route" in line
    }
    assert found == {True, False}
    renamed = re.findall(r'"\[([\w.]+)\]" => "((?:\[\w+\])+)"', text)
    raw = [json.loads(each) for each in told.raw["web"].splitlines() if each.startswith("{")]
    for dotted, nested in renamed:
        assert name(nested) == dotted and all(dotted in line for line in raw)
    written = re.findall(r'add_field => \{ "((?:\[\w+\])+)"', text)
    assert {name(each) for each in written} <= template_fields()


class Servers(Thread):
    """Elasticsearch and Kibana as the set-up script sees them: they answer, and are slow to."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.asked: list[tuple[str, str, bytes]] = []
        self.answers = [503]  #: Before the last, which is 200.
        self.imported = True  #: Whether Kibana takes what it is given; it answers 200 either way.
        asked, answers, servers = self.asked, self.answers, self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Authorization"].startswith("Basic ")
                status = answers.pop() if answers else 200
                if status == 200:
                    asked.append((self.command, self.path, body))
                told = json.dumps({"success": servers.imported}, separators=(",", ":")).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            do_PUT = do_POST = _answer

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def run(self) -> None:
        self.server.serve_forever()


@pytest.fixture
def servers() -> Iterator[Servers]:
    running = Servers()
    running.start()
    yield running
    running.server.shutdown()
    running.server.server_close()


def set_up(servers: Servers, **environment: str) -> subprocess.CompletedProcess[str]:
    url = f"http://127.0.0.1:{servers.server.server_port}"
    known = {"ELASTICSEARCH_URL": url, "KIBANA_URL": url, "ELASTIC_PASSWORD": "p", "RETRIES": "1"}
    return subprocess.run(
        [str(_LOGGING / "setup.sh")],
        env=os.environ | known | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_set_up_waits_for_the_servers_and_tells_them_everything(servers: Servers) -> None:
    done = set_up(servers)
    assert done.returncode == 0, done.stderr
    assert [(method, path) for method, path, _ in servers.asked] == [
        ("PUT", "/_ilm/policy/classifier-logs"),
        ("PUT", "/_index_template/classifier-logs"),
        ("POST", "/api/saved_objects/_import?overwrite=true"),
    ]
    policy, template, objects = (body for *_, body in servers.asked)
    settings = json.loads(template)["template"]["settings"]
    assert "delete" in json.loads(policy)["policy"]["phases"]
    assert settings["index.lifecycle.name"] == "classifier-logs"
    assert (_LOGGING / "kibana/saved-objects.ndjson").read_bytes() in objects


def test_the_set_up_fails_where_a_server_refuses(servers: Servers) -> None:
    servers.answers[:] = [400] * 9
    assert set_up(servers).returncode != 0


def test_the_set_up_fails_where_kibana_reads_the_objects_and_takes_none(servers: Servers) -> None:
    servers.imported = False
    done = set_up(servers)
    assert done.returncode != 0 and '"success":false' in done.stderr


@pytest.mark.parametrize("file", ["logging/filebeat.yml", "k8s/components/logging/filebeat.yml"])
def test_the_first_line_of_a_program_is_enough_for_filebeat(told: Told, file: str) -> None:
    """It leaves a file alone that is shorter than what it knows it by."""
    [files] = yaml.safe_load((ROOT / file).read_text())["filebeat.inputs"]
    enough = files["prospector.scanner.fingerprint.length"]
    ours = [line for text in told.raw.values() for line in text.splitlines() if line[:1] == "{"]
    assert 64 <= enough <= min(map(len, ours)), "filebeat takes no less than 64"
