"""Kibana's saved objects, and the script that sets up Elasticsearch and Kibana."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.monitoring.log_lines import LOGGING, saved_objects, template_fields


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


def test_kibana_uses_only_existing_fields() -> None:
    used = set()
    for each in saved_objects():
        attributes = each["attributes"]
        used |= set(re.findall(r'"field": "([^"]+)"', attributes.get("visState", "")))
        used |= set(attributes.get("columns", []))
        used |= {name for name, _ in attributes.get("sort", [])}
        source = attributes.get("kibanaSavedObjectMeta", {}).get("searchSourceJSON", "{}")
        query = json.loads(source).get("query", {}).get("query", "")
        used |= set(re.findall(r"([\w.@]+):", query))
        used |= set(json.loads(attributes.get("fieldFormatMap", "{}")))
    assert used and used <= template_fields()


class Servers(Thread):
    """Stands in for Elasticsearch and Kibana."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.accepted: list[tuple[str, str, bytes]] = []  #: Method, path and body.
        self.answers: list[int] = []  #: Statuses of the first answers. All later ones are 200.
        self.imported = True  #: Whether Kibana accepts the objects. It answers 200 either way.
        accepted, answers, servers = self.accepted, self.answers, self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Authorization"].startswith("Basic ")
                status = answers.pop() if answers else 200
                if status == 200:
                    accepted.append((self.command, self.path, body))
                text = json.dumps({"success": servers.imported}, separators=(",", ":")).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_PUT = do_POST = _answer

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def run(self) -> None:
        self.server.serve_forever(poll_interval=0.02)


@pytest.fixture
def servers() -> Iterator[Servers]:
    running = Servers()
    running.start()
    yield running
    running.server.shutdown()
    running.server.server_close()


def set_up(servers: Servers) -> subprocess.CompletedProcess[str]:
    url = f"http://127.0.0.1:{servers.server.server_port}"
    own = {"ELASTICSEARCH_URL": url, "KIBANA_URL": url, "ELASTIC_PASSWORD": "p", "RETRIES": "1"}
    own["LOGSTASH_PASSWORD"] = "only-writes"
    return subprocess.run(
        [str(LOGGING / "setup.sh")],
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_set_up_waits_for_the_servers_and_sends_everything(servers: Servers) -> None:
    servers.answers[:] = [503]
    done = set_up(servers)
    assert done.returncode == 0, done.stderr
    assert [(method, path) for method, path, _ in servers.accepted] == [
        ("PUT", "/_ilm/policy/classifier-logs"),
        ("PUT", "/_security/role/classifier_logstash"),
        ("PUT", "/_security/user/classifier_logstash"),
        ("PUT", "/_index_template/classifier-logs"),
        ("POST", "/api/saved_objects/_import?overwrite=true"),
    ]
    policy, role, user, template, objects = (body for *_, body in servers.accepted)
    # Logstash may add lines, and neither read nor delete them.
    [indices] = json.loads(role)["indices"]
    assert indices["privileges"] == ["create_doc", "auto_configure", "view_index_metadata"]
    assert json.loads(user) == {"password": "only-writes", "roles": ["classifier_logstash"]}
    assert indices["names"] == json.loads(template)["index_patterns"]
    settings = json.loads(template)["template"]["settings"]
    assert "delete" in json.loads(policy)["policy"]["phases"]
    assert settings["index.lifecycle.name"] == "classifier-logs"
    assert (LOGGING / "kibana/saved-objects.ndjson").read_bytes() in objects


def test_the_set_up_fails_where_a_server_refuses(servers: Servers) -> None:
    servers.answers[:] = [400] * 9
    assert set_up(servers).returncode != 0


def test_the_set_up_fails_where_kibana_accepts_no_object(servers: Servers) -> None:
    servers.imported = False
    done = set_up(servers)
    assert done.returncode != 0 and '"success":false' in done.stderr
