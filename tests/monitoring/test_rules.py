"""The shipped rules and dashboards are valid, tested and documented."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator

import pytest
import yaml

from shared.errors import ClassifierError
from shared.jobs import Lane
from shared.operation.lane_states import LaneState
from tests.monitoring.rules import DASHBOARDS, RULES, dashboard_queries, panels, rules
from tests.monitoring.watchers import ROOT
from web.http.errors import status_for


@pytest.mark.parametrize("name", ["prometheus.yml", "quickstart.yml"])
def test_promtool_accepts_the_configuration(program: Callable[[str], str], name: str) -> None:
    command = [program("promtool"), "check", "config", f"monitoring/prometheus/{name}"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


TESTS = sorted((ROOT / "monitoring/prometheus").glob("*_test.yml"))


def test_the_rules_pass_their_tests(program: Callable[[str], str]) -> None:
    command = [program("promtool"), "test", "rules", *map(str, TESTS)]
    tested = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_has_a_test_that_fires_it_and_one_that_does_not() -> None:
    cases = [case for path in TESTS for case in yaml.safe_load(path.read_text())["tests"]]
    tests = [test for case in cases for test in case.get("alert_rule_test", [])]
    fired = {test["alertname"] for test in tests if test["exp_alerts"]}
    silent = {test["alertname"] for test in tests if not test["exp_alerts"]}
    assert fired == silent == {rule["alert"] for rule in rules("alert")}


def test_every_alert_has_a_section_that_says_what_to_do() -> None:
    headings = re.findall(
        r"^### (Classifier.+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE
    )
    urls = {rule["annotations"]["runbook_url"] for rule in rules("alert")}
    # One address for all, which an operator replaces by one command.
    [base] = {url.partition("#")[0] for url in urls}
    assert base.startswith("https://") and base.endswith("/docs/operations.md")
    assert urls == {f"{base}#{heading.lower()}" for heading in headings}
    for rule in rules("alert"):
        assert rule["annotations"]["runbook_url"].endswith(f"#{rule['alert'].lower()}")


def test_every_expression_keeps_the_cells_apart() -> None:
    """A cell is a namespace. Only metrics of the cluster and of nodes have other namespaces."""
    for rule in [*rules("record"), *rules("alert")]:
        for grouping in re.findall(r"\b(?:by|on) \(([\w, ]+)\)", rule["expr"]):
            assert "namespace" in grouping.split(", "), rule["expr"]
        for name in re.findall(r"\b(sum|max|min|count|avg) *\(", rule["expr"]):
            raise AssertionError(f"`{name}` without `by`: {rule['expr']}")


def test_every_panel_can_show_one_cell() -> None:
    for dashboard in DASHBOARDS:
        [variable] = json.loads(dashboard.read_text())["templating"]["list"]
        assert (variable["name"], variable["allValue"]) == ("namespace", ".*")
        assert variable["includeAll"] and variable["current"]["value"] == "$__all"
    for title, expr in dashboard_queries():
        metrics = re.findall(
            r"\b((?:classifier|celery|flower|redis|lane)[_:][\w:]+)({[^}]*})?", expr
        )
        for name, selector in metrics:
            assert 'namespace=~"$namespace"' in selector, f"{title}: {name}"


def test_every_lane_in_rules_and_dashboards_exists() -> None:
    text = "".join(path.read_text() for path in [*RULES.glob("*.yml"), *DASHBOARDS])
    assert set(re.findall(r'lane=\\?"(\w+)\\?"', text)) <= set(Lane)


def test_a_panel_names_each_state_of_a_lane() -> None:
    """The recording rule gives a number: 2 if the lane accepts, and 1 if its workers take parts."""
    [panel] = [
        panel
        for dashboard in DASHBOARDS
        for panel in panels(dashboard)
        if panel["title"] == "State of the lanes"
    ]
    assert "lane:classifier_state:max" in panel["targets"][0]["expr"]
    [mapping] = panel["fieldConfig"]["defaults"]["mappings"]
    names = {int(number): shown["text"] for number, shown in mapping["options"].items()}
    assert names == {2 * state.accepts + state.works: state for state in LaneState}


def test_a_panel_shows_each_refusal_of_a_single_client() -> None:
    [expr] = [expr for title, expr in dashboard_queries() if "Clients above their share" in title]
    [codes] = re.findall(r'code=~"([\w|]+)"', expr)
    answered_429 = {error.code for error in _errors() if status_for(error) == 429}
    assert set(codes.split("|")) == answered_429


def _errors(base: type[ClassifierError] = ClassifierError) -> Iterator[type[ClassifierError]]:
    for error in base.__subclasses__():
        yield error
        yield from _errors(error)


def test_dashboards_find_their_data_source() -> None:
    folder = ROOT / "monitoring/grafana/provisioning"
    provisioned = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())
    uids = {each["uid"] for each in provisioned["datasources"]}
    assert len(DASHBOARDS) == 3
    for dashboard in DASHBOARDS:
        assert {panel["datasource"]["uid"] for panel in panels(dashboard)} == uids
        ids = [panel["id"] for panel in json.loads(dashboard.read_text())["panels"]]
        assert len(ids) == len(set(ids))
