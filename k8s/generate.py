"""`python3 k8s/generate.py` writes the PrometheusRule from the rule files.

Kustomize can put a file only into a ConfigMap. A test compares the two. To change the address of
the runbooks in every alert:

    python3 k8s/generate.py --runbooks https://wiki.example.com/classifier/operations.md
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import yaml

_ROOT = Path(__file__).parents[1]
RULES = _ROOT / "monitoring/prometheus/rules"
TARGET = _ROOT / "k8s/rules/prometheus-rules.yaml"


def prometheus_rules() -> str:
    files = sorted(RULES.glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "image-classifier",
            "namespace": "image-classifier",
            "labels": {"release": "prometheus"},
        },
        "spec": {"groups": groups},
    }
    head = "# Written by k8s/generate.py from monitoring/prometheus/rules. Change it there.\n"
    return head + yaml.safe_dump(rule, sort_keys=False, width=1000)


def name_runbooks(address: str, folder: Path = RULES.parent) -> None:
    """Let every alert, and its test, name the runbook at this address."""
    for file in folder.rglob("*.yml"):
        old = r"(runbook_url: )\S+(?=#)"
        file.write_text(re.sub(old, lambda found: found[1] + address, file.read_text()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--runbooks", metavar="URL", help="the address of docs/operations.md")
    if runbooks := parser.parse_args().runbooks:
        name_runbooks(runbooks)
    TARGET.write_text(prometheus_rules())
