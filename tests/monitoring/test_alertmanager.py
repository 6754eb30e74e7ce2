"""Alertmanager's configuration sends each alert of the rules where it belongs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.monitoring.rules import rules
from tests.monitoring.watchers import ROOT

FILE = ROOT / "monitoring/alertmanager/alertmanager.yml"


def test_amtool_accepts_the_configuration(program: Callable[[str], str]) -> None:
    command = [program("amtool"), "check-config", FILE]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("severity", ["page", "ticket"])
def test_each_severity_has_a_receiver(program: Callable[[str], str], severity: str) -> None:
    command = [program("amtool"), "config", "routes", "test", f"--config.file={FILE}"]
    labels = [f"severity={severity}", "alertname=ClassifierRedisDown", "namespace=cell"]
    tested = subprocess.run([*command, *labels], capture_output=True, text=True, check=True)
    assert tested.stdout.split() == [severity]


def test_the_severities_of_the_rules_are_the_receivers() -> None:
    config = yaml.safe_load(FILE.read_text())
    severities = {rule["labels"]["severity"] for rule in rules("alert")}
    assert severities == {each["name"] for each in config["receivers"]} == {"page", "ticket"}


def test_the_commands_of_the_document_work(program: Callable[[str], str], tmp_path: Path) -> None:
    for needed in ("amtool", "promtool"):
        program(needed)
    text = (ROOT / "docs/operations.md").read_text().partition("## Alerts")[2]
    text = text.partition("## What to do")[0]
    commands = re.findall(r"^(?:\$ |    )(.*)$", text, re.MULTILINE)
    [compose] = [each for each in commands if "docker compose" in each]  # needs Docker
    commands.remove(compose)
    assert len(commands) == 5
    for folder in ("monitoring", "k8s"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    script = "\n".join(commands).replace("python3 k8s", f"{sys.executable} k8s")
    followed = subprocess.run(
        ["bash", "-euxc", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert followed.returncode == 0, followed.stdout + followed.stderr
    rules_there = (tmp_path / "k8s/rules/prometheus-rules.yaml").read_text()
    assert "https://wiki.example.com/classifier/operations.md#classifier" in rules_there


def test_one_message_has_all_alerts_of_a_cell() -> None:
    """A total outage makes several alerts at once."""
    route = yaml.safe_load(FILE.read_text())["route"]
    assert route["group_by"] == ["namespace", "severity"]
    assert all("group_by" not in each for each in route["routes"])
