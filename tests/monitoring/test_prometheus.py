"""The shipped rules and dashboards: valid, tested, and fed by metrics that exist."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from shared.jobs import Lane
from tests.monitoring.conftest import ROOT, Prometheus, Watched, Watchers
from tests.monitoring.scrapes import wait_until

_RULES = ROOT / "monitoring/prometheus/rules"
_DASHBOARDS = sorted((ROOT / "monitoring/grafana/dashboards").glob("*.json"))

#: What we use of the programs beside ours. The autoscaler's is known in Kubernetes alone.
_ELSEWHERE = {
    "kube_horizontalpodautoscaler_status_current_replicas",
    "kube_horizontalpodautoscaler_spec_max_replicas",
}

_NAME = re.compile(
    r"\b(?:(?:classifier|celery|flower|redis|node|kube)_\w+|(?:lane|classifier):[\w:]+)"
)


def panels(dashboard: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(dashboard.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def dashboard_queries() -> Iterator[tuple[str, str]]:
    for dashboard in _DASHBOARDS:
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield f"{dashboard.stem}: {panel['title']}", target["expr"]


def rules(kind: str) -> list[dict[str, Any]]:
    files = [yaml.safe_load(path.read_text()) for path in sorted(_RULES.glob("*.yml"))]
    every = [rule for each in files for group in each["groups"] for rule in group["rules"]]
    return [rule for rule in every if kind in rule]


@pytest.mark.parametrize("name", ["prometheus.yml", "quickstart.yml"])
def test_promtool_accepts_the_configuration(program: Callable[[str], str], name: str) -> None:
    command = [program("promtool"), "check", "config", f"monitoring/prometheus/{name}"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_rules_pass_their_tests(program: Callable[[str], str]) -> None:
    command = [program("promtool"), "test", "rules", "monitoring/prometheus/rules_test.yml"]
    tested = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_has_a_test_that_fires_it() -> None:
    cases = yaml.safe_load((ROOT / "monitoring/prometheus/rules_test.yml").read_text())["tests"]
    fired = {c["alertname"] for t in cases for c in t.get("alert_rule_test", []) if c["exp_alerts"]}
    silent = {
        c["alertname"] for t in cases for c in t.get("alert_rule_test", []) if not c["exp_alerts"]
    }
    named = {rule["alert"] for rule in rules("alert")}
    assert fired == silent == named


def test_every_alert_has_a_section_that_says_what_to_do() -> None:
    headings = re.findall(r"^### (.+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    anchors = {f"docs/operations.md#{heading.lower()}" for heading in headings}
    assert {rule["annotations"]["runbook_url"] for rule in rules("alert")} == anchors
    for rule in rules("alert"):
        assert rule["annotations"]["runbook_url"].endswith(f"#{rule['alert'].lower()}")


def test_every_lane_and_queue_that_is_named_exists() -> None:
    text = "".join(path.read_text() for path in [*_RULES.glob("*.yml"), *_DASHBOARDS])
    assert set(re.findall(r'lane=\\?"(\w+)\\?"', text)) <= set(Lane)


def test_dashboards_find_their_data_source() -> None:
    folder = ROOT / "monitoring/grafana/provisioning"
    provisioned = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())
    uids = {each["uid"] for each in provisioned["datasources"]}
    assert len(_DASHBOARDS) == 3
    for dashboard in _DASHBOARDS:
        named = {panel["datasource"]["uid"] for panel in panels(dashboard)}
        assert named == uids
        ids = [panel["id"] for panel in json.loads(dashboard.read_text())["panels"]]
        assert len(ids) == len(set(ids))


@pytest.fixture(scope="module")
def loaded(watched: Watched, watchers: Watchers, prometheus: Prometheus) -> Prometheus:
    """Prometheus, having seen some of everything that people do."""
    jobs = {"web", "worker", "celery-exporter", "flower", "redis", "node"}
    wait_until(lambda: prometheus.targets() == {job: {"up"} for job in jobs}, 40)
    for _ in range(4):
        watched.classify()
        same = watched.fresh_picture()
        for _ in range(2):
            httpx.post(f"{watched.service.base_url}/api/v1/classify", content=same, timeout=60)
        httpx.post(f"{watched.service.base_url}/api/v1/classify", content=same[:900], timeout=60)
        httpx.post(f"{watched.service.base_url}/api/v1/classify", content=b"no picture")
        watched.run_job(20)
        known = prometheus.query("count_over_time(up[1m])")
        wait_until(lambda k=known: prometheus.query("count_over_time(up[1m])") != k)  # type: ignore
    wait_until(lambda: bool(prometheus.query("celery_task_succeeded_total > 0")))
    return prometheus


def test_every_panel_shows_something_under_load(loaded: Prometheus) -> None:
    def empty() -> list[str]:
        queries = [
            (title, expr.replace("$__rate_interval", "1m")) for title, expr in dashboard_queries()
        ]
        shown = {(title, e): [v for v in loaded.query(e) if v == v] for title, e in queries}
        return [f"{title}: {expr}" for (title, expr), values in shown.items() if not values]

    try:
        wait_until(lambda: not empty(), 20)  # rates take two scrapes, rules one more turn
    except AssertionError:
        assert not empty()
        raise


def test_the_rules_run_and_no_alert_fires(loaded: Prometheus) -> None:
    groups = httpx.get(f"{loaded.url}/api/v1/rules").json()["data"]["groups"]
    every = [rule for group in groups for rule in group["rules"]]
    assert len(every) == len(rules("record")) + len(rules("alert"))
    assert [rule["lastError"] for rule in every if rule.get("lastError")] == []
    assert not loaded.query('ALERTS{severity="page", alertstate="firing"}')


def test_every_metric_that_is_named_exists(loaded: Prometheus) -> None:
    queries = [expr for _, expr in dashboard_queries()]
    exprs = [rule["expr"] for rule in [*rules("record"), *rules("alert")]]
    named = {name for text in [*queries, *exprs] for name in _NAME.findall(text)} - _ELSEWHERE
    known = set(httpx.get(f"{loaded.url}/api/v1/label/__name__/values").json()["data"])
    assert named <= known
    recorded = {rule["record"] for rule in rules("record")}
    assert {name for name in named if ":" in name} <= recorded
