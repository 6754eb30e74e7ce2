"""The shipped rules and dashboards in a real Prometheus that scrapes a busy service."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.monitoring.rules import dashboard_queries, rules
from tests.monitoring.watched import Watched
from tests.monitoring.watchers import Prometheus, Watchers, grant_few_rights
from tests.support.waiting import wait_until

#: Metrics of the autoscaler, which only Kubernetes has.
_ELSEWHERE = {
    "kube_horizontalpodautoscaler_status_current_replicas",
    "kube_horizontalpodautoscaler_spec_max_replicas",
}

_NAME = re.compile(
    r"\b(?:(?:classifier|celery|flower|redis|node|kube|probe)_\w+|(?:lane|classifier):[\w:]+)"
)


@pytest.fixture(scope="module")
def loaded(watched: Watched, watchers: Watchers, prometheus: Prometheus) -> Prometheus:
    """Prometheus, after it has scraped the service during requests of all kinds."""
    jobs = {"web", "worker", "celery-exporter", "flower", "redis", "node", "front-door"}
    healthy = {job: {"up"} for job in jobs}
    wait_until(lambda: prometheus.targets() == healthy, 60, problem=prometheus.targets)
    url = f"{watched.service.base_url}/api/v1/classify"
    for _ in range(4):
        watched.classify()
        picture = watched.new_picture()
        for content in (picture, picture, picture[:900], b"no picture"):
            httpx.post(url, content=content, timeout=60)
        watched.run_job(20)
        _await_scrape(prometheus)
    wait_until(lambda: bool(prometheus.query("celery_task_succeeded_total > 0")))
    return prometheus


def shown(expr: str) -> str:
    """An expression of a dashboard with the values that Grafana puts in."""
    return expr.replace("$__rate_interval", "1m").replace("$namespace", ".*")


def _await_scrape(prometheus: Prometheus) -> None:
    before = prometheus.query("count_over_time(up[1m])")
    wait_until(lambda: prometheus.query("count_over_time(up[1m])") != before)


def test_every_panel_shows_something_under_load(loaded: Prometheus) -> None:
    def empty_panels() -> list[str]:
        empty = []
        for title, expr in dashboard_queries():
            values = loaded.query(shown(expr))
            if not [value for value in values if value == value]:  # a NaN is nothing
                empty.append(f"{title}: {expr}")
        return empty

    # A rate takes two scrapes, and a rule one evaluation more.
    wait_until(lambda: not empty_panels(), 30, problem=empty_panels)


def test_the_rules_run_and_no_alert_fires(loaded: Prometheus) -> None:
    groups = httpx.get(f"{loaded.url}/api/v1/rules").json()["data"]["groups"]
    every = [rule for group in groups for rule in group["rules"]]
    assert len(every) == len(rules("record")) + len(rules("alert"))
    assert [rule["lastError"] for rule in every if rule.get("lastError")] == []
    assert not loaded.query('ALERTS{severity="page", alertstate="firing"}')


def test_every_metric_in_rules_and_dashboards_exists(loaded: Prometheus) -> None:
    queries = [expr for _, expr in dashboard_queries()]
    exprs = [rule["expr"] for rule in [*rules("record"), *rules("alert")]]
    named = {name for text in [*queries, *exprs] for name in _NAME.findall(text)} - _ELSEWHERE
    known = set(httpx.get(f"{loaded.url}/api/v1/label/__name__/values").json()["data"])
    assert named <= known
    recorded = {rule["record"] for rule in rules("record")}
    assert {name for name in named if ":" in name} <= recorded


def test_an_outage_of_redis_raises_an_alert_at_the_alertmanager(
    loaded: Prometheus, watched: Watched
) -> None:
    [alertmanager] = loaded.alertmanagers()
    assert httpx.get(alertmanager.replace("/api/v2/alerts", "/-/healthy")).is_success
    assert loaded.query('probe_success{job="front-door"}') == [1]
    raised = "ALERTS{alertname=~'ClassifierRedisDown|ClassifierFrontDoorDown', severity='page'}"
    assert loaded.query(raised) == []
    watched.service.stop_redis()
    try:
        # They fire a minute or two later: see outages_test.yml.
        wait_until(lambda: len(loaded.query(raised)) == 2, 30, problem="no alert is pending")
        unserved = "max(classifier:unserved:ratio1h{by='probe'} > 0)"
        wait_until(lambda: loaded.query(unserved), 30, problem="nothing counts as unserved")
    finally:
        watched.service.start_redis()
        grant_few_rights(watched)  # The watchers go on.
    watched.service.await_web()
    wait_until(lambda: loaded.query('probe_success{job="front-door"}') == [1])
