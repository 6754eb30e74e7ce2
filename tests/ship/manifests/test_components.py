"""Webhooks, monitoring and logs in Kubernetes are those of Compose."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.generate import name_runbooks
from shared.settings import Settings
from tests.ship.manifests.objects import (
    NAMESPACE,
    ROOT,
    Kustomize,
    Objects,
    labels,
    of_kind,
    pods,
    selects,
)
from tests.support.programs import installed


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of Compose."""
    compose: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    of_compose: dict[str, Any] = compose["services"]
    return of_compose


def test_the_webhooks_worker_is_the_one_of_compose(
    with_webhooks: Objects, services: dict[str, Any]
) -> None:
    specs = {name: pod["spec"] for name, pod in pods(with_webhooks)}
    [container] = specs["webhooks"]["containers"]
    assert container["args"] == services["webhooks"]["command"]
    assert container["image"] == specs["worker-bulk"]["containers"][0]["image"]
    grace = specs["webhooks"]["terminationGracePeriodSeconds"]
    assert grace > Settings().webhook_timeout_seconds
    mounted = {
        item["path"]
        for volume in specs["webhooks"]["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
        for item in source["secret"]["items"]
    }
    assert mounted == {"redis_url", "webhook_secret"} == mounted & set(Settings.model_fields)


def test_workers_on_cards_take_their_image_from_the_same_place_and_webhooks_need_none(
    kustomize: Kustomize,
) -> None:
    edit = (
        "k8s/overlays/gpu/kustomization.yaml",
        "components:\n",
        "components:\n  - ../../components/webhooks\n",
    )
    templates = dict(pods(kustomize("overlays/gpu", edit)))
    images = {name: pod["spec"]["containers"][0]["image"] for name, pod in templates.items()}
    registry = images["web"].removesuffix("/web:" + images["web"].rpartition(":")[2])
    assert images["worker-bulk"] == images["worker-interactive"]
    assert images["worker-bulk"].startswith(f"{registry}/worker-gpu:")
    assert images["webhooks"].startswith(f"{registry}/worker:")
    limits = templates["webhooks"]["spec"]["containers"][0]["resources"]["limits"]
    assert "nvidia.com/gpu" not in limits
    named = [path for path in (ROOT / "k8s").rglob("*.yaml") if "registry." in path.read_text()]
    assert named == [ROOT / "k8s/site/kustomization.yaml"]


def test_a_rollout_on_cards_needs_no_spare_card(kustomize: Kustomize) -> None:
    deployments = of_kind(kustomize("overlays/gpu"), "Deployment")
    for lane in ("interactive", "bulk"):
        rollout = deployments[f"worker-{lane}"]["spec"]["strategy"]["rollingUpdate"]
        assert rollout == {"maxSurge": 0, "maxUnavailable": 1}


def test_web_accepts_webhooks_only_where_their_worker_runs(
    with_webhooks: Objects, cpu: Objects
) -> None:
    def accepts(objects: Objects) -> bool:
        [container] = dict(pods(objects))["web"]["spec"]["containers"]
        name = container["envFrom"][0]["configMapRef"]["name"]
        data = of_kind(objects, "ConfigMap")[name]["data"]
        return Settings(**{key.lower(): value for key, value in data.items()}).webhooks

    assert accepts(with_webhooks) and not accepts(cpu)


def test_the_alert_rules_are_those_of_the_files(monitored: Objects) -> None:
    [rules] = of_kind(monitored, "PrometheusRule").values()
    files = sorted((ROOT / "monitoring/prometheus/rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    assert rules["spec"]["groups"] == groups, "run: python3 k8s/generate.py"


def test_prometheus_accepts_the_rules_in_one_file(monitored: Objects, tmp_path: Path) -> None:
    """The operator writes them into one file, where no two groups may have the same name."""
    [rules] = of_kind(monitored, "PrometheusRule").values()
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules["spec"]))
    command = [installed("promtool"), "check", "rules", tmp_path / "rules.yml"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_grafana_finds_every_dashboard(monitored: Objects) -> None:
    offered = {
        name
        for each in of_kind(monitored, "ConfigMap").values()
        if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
        for name in each["data"]
    }
    files = (ROOT / "monitoring/grafana/dashboards").glob("*.json")
    assert offered == {path.name for path in files}


def test_each_monitor_selects_something(monitored: Objects) -> None:
    labelled = [
        each["metadata"]["labels"]
        for each in of_kind(monitored, "Service").values()
        if "labels" in each["metadata"]
    ]
    candidates = {
        "ServiceMonitor": labelled,
        "PodMonitor": [labels(pod) for _, pod in pods(monitored)],
    }
    for kind, each_labels in candidates.items():
        for name, monitor in of_kind(monitored, kind).items():
            assert any(selects(monitor["spec"]["selector"], each) for each in each_labels), name


def test_prometheus_scrapes_the_jobs_of_compose_under_the_same_names(monitored: Objects) -> None:
    """Rules and dashboards use these names. A cluster monitors its nodes itself."""
    config = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())
    jobs = {each["job_name"] for each in config["scrape_configs"]} - {"prometheus", "node"}
    [probe] = of_kind(monitored, "Probe").values()
    jobs.remove(probe["spec"]["jobName"])
    scraped = {}
    for kind in ("ServiceMonitor", "PodMonitor"):
        for monitor in of_kind(monitored, kind).values():
            spec = monitor["spec"]
            [endpoint] = spec.get("endpoints") or spec["podMetricsEndpoints"]
            [relabeling] = endpoint["relabelings"]
            assert relabeling["targetLabel"] == "job"
            scraped[relabeling["replacement"]] = (
                spec["selector"]["matchLabels"],
                endpoint["port"],
            )
    assert set(scraped) == jobs
    policies = list(of_kind(monitored, "NetworkPolicy").values())
    for selector, port_name in scraped.values():
        for _, pod in pods(monitored):
            if selector.items() <= labels(pod).items():
                [container] = pod["spec"]["containers"]
                ports = {p["name"]: p["containerPort"] for p in container["ports"]}
                assert _open_to(policies, "monitoring", labels(pod), ports[port_name])


def test_the_front_door_is_probed_as_in_compose(
    monitored: Objects, services: dict[str, Any]
) -> None:
    config = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())
    [job] = [each for each in config["scrape_configs"] if each["job_name"] == "front-door"]
    probe = of_kind(monitored, "Probe")["front-door"]["spec"]
    assert job["params"]["module"] == [probe["module"]]
    host = of_kind(monitored, "Ingress")["web"]["spec"]["rules"][0]["host"]
    assert probe["targets"]["staticConfig"]["static"] == [f"https://{host}/api/v1/health"]
    assert probe["prober"]["url"] == f"blackbox-exporter.{NAMESPACE}.svc.cluster.local:9115"
    pod = dict(pods(monitored))["blackbox-exporter"]
    [container] = pod["spec"]["containers"]
    compose = services["blackbox-exporter"]
    assert (container["image"], container["args"]) == (compose["image"], compose["command"])
    policies = list(of_kind(monitored, "NetworkPolicy").values())
    assert _open_to(policies, "monitoring", labels(pod), 9115)


def test_alerts_go_the_way_of_alertmanagers_file(monitored: Objects) -> None:
    file = yaml.safe_load((ROOT / "monitoring/alertmanager/alertmanager.yml").read_text())
    [spec] = (each["spec"] for each in of_kind(monitored, "AlertmanagerConfig").values())
    assert _in_snake_case(spec["route"]) == file["route"]
    inhibited = [_in_snake_case(each) for each in spec["inhibitRules"]]
    names = {"source_match": "source_matchers", "target_match": "target_matchers"}
    assert [{names.get(k, k): v for k, v in each.items()} for each in inhibited] == (
        file["inhibit_rules"]
    )
    assert spec["receivers"] == file["receivers"]


def _in_snake_case(value: Any) -> Any:
    """A part of an AlertmanagerConfig as Alertmanager's own file has it."""
    if isinstance(value, list):
        return [_in_snake_case(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "matchType" in value:
        return f'{value["name"]}{value["matchType"]}"{value["value"]}"'
    return {
        re.sub("[A-Z]", lambda c: f"_{c[0].lower()}", k): _in_snake_case(v)
        for k, v in value.items()
    }


def test_one_command_names_the_runbooks_of_all_alerts(tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT / "monitoring/prometheus", tmp_path / "prometheus")
    name_runbooks("https://wiki.example.com/runbooks", folder)
    for file in folder.rglob("*.yml"):
        for found in re.findall(r"runbook_url: (.*)#", file.read_text()):
            assert found == "https://wiki.example.com/runbooks"
    tests = [str(each) for each in folder.glob("*_test.yml")]
    tested = subprocess.run([installed("promtool"), "test", "rules", *tests], check=False)
    assert tested.returncode == 0


def _open_to(policies: Objects, namespace: str, of: dict[str, str], port: int) -> bool:
    wanted = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return any(
        port in {each["port"] for each in rule["ports"]}
        and any(one.get("namespaceSelector") == wanted for one in rule["from"])
        for policy in policies
        if selects(policy["spec"]["podSelector"], of)
        for rule in policy["spec"].get("ingress", ())
    )


def test_the_log_stack_is_the_one_of_compose(
    kustomize: Kustomize, services: dict[str, Any]
) -> None:
    logged = kustomize("overlays/logging")
    templates = dict(pods(logged))
    for name in ("elasticsearch", "kibana", "logstash"):
        [container] = templates[name]["spec"]["containers"]
        assert container["image"] == services[name]["image"]
        # A cluster gives Java more memory.
        alike = {k: v for k, v in services[name]["environment"].items() if "JAVA_OPTS" not in k}
        assert alike.items() <= {e["name"]: e["value"] for e in container["env"]}.items()
    [filebeat] = of_kind(logged, "DaemonSet").values()
    [container] = filebeat["spec"]["template"]["spec"]["containers"]
    assert container["image"] == services["filebeat"]["image"]


def test_lines_wait_on_a_disk_while_elasticsearch_is_away(
    kustomize: Kustomize, services: dict[str, Any]
) -> None:
    assert services["logstash"]["environment"]["QUEUE_TYPE"] == "persisted"
    data = "/usr/share/logstash/data"
    assert f"logstash-data:{data}" in services["logstash"]["volumes"]
    pod = dict(pods(kustomize("overlays/logging")))["logstash"]["spec"]
    [container] = pod["containers"]
    assert {"name": "QUEUE_TYPE", "value": "persisted"} in container["env"]
    assert data in {each["mountPath"] for each in container["volumeMounts"]}


def test_the_log_stack_uses_every_file_and_sends_lines_to_logstash(kustomize: Kustomize) -> None:
    logged = kustomize("overlays/logging")
    data = {key for each in of_kind(logged, "ConfigMap").values() for key in each["data"]}
    files = {path.name for path in (ROOT / "logging").rglob("*") if path.is_file()}
    used = {name.removeprefix("elasticsearch-").removeprefix("kibana-") for name in data}
    assert files - used == {"README.md", "kustomization.yaml"}
    filebeat = (ROOT / "k8s/components/logging/filebeat.yml").read_text()
    assert f"/var/log/pods/{NAMESPACE}_*/" in filebeat
    port = of_kind(logged, "Service")["logstash"]["spec"]["ports"][0]["port"]
    assert f"logstash.{NAMESPACE}.svc.cluster.local:{port}" in filebeat
    assert f"port => {port}" in (ROOT / "logging/logstash/pipeline/classifier.conf").read_text()
