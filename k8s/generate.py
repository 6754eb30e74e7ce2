"""`python k8s/generate.py` writes the PrometheusRule from the rule files.

Kustomize can put a file only into a ConfigMap. A test compares the two.
"""

from __future__ import annotations

from pathlib import Path

import yaml

_ROOT = Path(__file__).parents[1]
RULES = _ROOT / "monitoring/prometheus/rules"
TARGET = _ROOT / "k8s/components/monitoring/prometheus-rules.yaml"


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


if __name__ == "__main__":
    TARGET.write_text(prometheus_rules())
