"""The shipped rules and dashboards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.monitoring.watchers import ROOT

RULES = ROOT / "monitoring/prometheus/rules"
DASHBOARDS = sorted((ROOT / "monitoring/grafana/dashboards").glob("*.json"))


def panels(dashboard: Path) -> list[dict[str, Any]]:
    every: list[dict[str, Any]] = json.loads(dashboard.read_text())["panels"]
    return [panel for panel in every if panel["type"] != "row"]


def dashboard_queries() -> Iterator[tuple[str, str]]:
    """The title and the expression of each query."""
    for dashboard in DASHBOARDS:
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield f"{dashboard.stem}: {panel['title']}", target["expr"]


def rules(kind: str) -> list[dict[str, Any]]:
    """All rules of a kind, `record` or `alert`."""
    files = [yaml.safe_load(path.read_text()) for path in sorted(RULES.glob("*.yml"))]
    every = [rule for each in files for group in each["groups"] for rule in group["rules"]]
    return [rule for rule in every if kind in rule]
