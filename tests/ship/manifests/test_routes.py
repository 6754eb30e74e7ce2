"""Probes and the Ingress name paths that the programs serve."""

from __future__ import annotations

import re

import pytest

from shared.settings import Settings
from tests.ship.manifests.objects import ROOT, Kustomize, Objects, of_kind, pods
from web.app import create_app


@pytest.fixture(scope="module")
def routes() -> set[str]:
    app = create_app(Settings(redis_url="redis://127.0.0.1:1/0", log_level="ERROR"))
    app.extensions["backend"].close()
    return {re.sub("<.*", "x", rule.rule) for rule in app.url_map.iter_rules()}


def test_each_probe_asks_for_a_path_that_its_program_serves(
    whole: Objects, routes: set[str]
) -> None:
    served = {"web": routes, "flower": {"/healthcheck"}, "celery-exporter": {"/health"}}
    served |= {"redis-exporter": {"/health"}, "blackbox-exporter": {"/-/healthy"}}
    served["kibana"] = {"/api/status"}
    health = ["python", "-m", "workers.upkeep.health"]
    commands = {"worker-interactive": health, "worker-bulk": health}
    commands["webhooks"] = [*health, "webhooks"]
    for name, pod in pods(whole):
        [container] = pod["spec"]["containers"]
        probes = {kind: container[kind] for kind in container if kind.endswith("Probe")}
        assert {"startupProbe", "livenessProbe"} <= set(probes) or name == "logging-setup"
        for kind, probe in probes.items():
            if request := probe.get("httpGet"):
                assert request["path"] in served[name]
                assert request["port"] in {port["name"] for port in container["ports"]}
            elif name in commands:
                assert probe["exec"]["command"] == commands[name], kind


def test_an_outage_of_redis_restarts_no_web_process(cpu: Objects) -> None:
    [web] = dict(pods(cpu))["web"]["spec"]["containers"]
    assert web["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert web["livenessProbe"]["httpGet"]["path"] == "/livez"


def test_the_ingress_serves_everything_but_metrics_and_probes(
    whole: Objects, routes: set[str]
) -> None:
    [ingress] = of_kind(whole, "Ingress").values()
    paths = ingress["spec"]["rules"][0]["http"]["paths"]
    assert {each["backend"]["service"]["name"] for each in paths} == {"web"}

    def served(route: str) -> bool:
        return any(
            route == each["path"]
            or each["pathType"] == "Prefix"
            and route.startswith(each["path"] + "/")
            for each in paths
        )

    assert {route for route in routes if not served(route)} == {"/metrics", "/livez", "/readyz"}


def test_the_ingress_has_the_limits_of_nginx(cpu: Objects) -> None:
    [ingress] = of_kind(cpu, "Ingress").values()
    nginx = (ROOT / "nginx/service.conf").read_text()
    limits = dict(re.findall(r"(?m)^ +(client_max_body_size|proxy_\w+) ([^;]+);", nginx))
    limits["proxy_body_size"] = limits["client_max_body_size"]
    [limits["limit_connections"]] = re.findall(r"limit_conn addresses (\d+);", nginx)
    for annotation, value in ingress["metadata"]["annotations"].items():
        prefix, _, name = annotation.partition("/")
        if prefix == "nginx.ingress.kubernetes.io":
            assert limits[name.replace("-", "_")].rstrip("s") == value, name
    assert ingress["spec"]["tls"][0]["hosts"] == [ingress["spec"]["rules"][0]["host"]]


def test_a_route_of_the_gateway_api_serves_the_paths_of_the_ingress(kustomize: Kustomize) -> None:
    edit = (
        "k8s/overlays/cpu/kustomization.yaml",
        "components:\n",
        "components:\n  - ../../components/gateway\n",
    )
    objects = kustomize("overlays/cpu", edit)
    assert not of_kind(objects, "Ingress")
    [route] = (each["spec"] for each in of_kind(objects, "HTTPRoute").values())
    kinds = {"Exact": "Exact", "PathPrefix": "Prefix"}
    served = {
        (match["path"]["value"], kinds[match["path"]["type"]])
        for rule in route["rules"]
        for match in rule["matches"]
    }
    [ingress] = of_kind(kustomize("overlays/cpu"), "Ingress").values()
    paths = ingress["spec"]["rules"][0]["http"]["paths"]
    assert served == {(each["path"], each["pathType"]) for each in paths}
    service = of_kind(objects, "Service")["web"]["spec"]["ports"][0]["port"]
    assert [rule["backendRefs"] for rule in route["rules"]] == [
        [{"name": "web", "port": service}]
    ] * 2
    # The Gateway API allowed eight matches in a rule before version 1.2.
    assert all(len(rule["matches"]) <= 8 for rule in route["rules"])
    # Waits and event streams are open for a minute and longer.
    assert route["rules"][0]["timeouts"] == {"request": "0s"}
    assert {"/api", "/jobs"} == {each["path"]["value"] for each in route["rules"][0]["matches"]}


def test_only_the_overlay_names_a_host_and_a_controller(kustomize: Kustomize) -> None:
    """The controllers of k3d and kind serve the overlay `local`, whatever their namespace is."""
    base = (ROOT / "k8s/base/ingress.yaml").read_text()
    assert not re.search(r"(?m)^ *(- )?(host|tls|ingressClassName):", base)
    [local] = of_kind(kustomize("overlays/local"), "Ingress").values()
    assert set(local["spec"]) == {"rules"} and "host" not in local["spec"]["rules"][0]
    policy = of_kind(kustomize("overlays/local"), "NetworkPolicy")["web"]["spec"]
    assert policy["ingress"] == [{"from": [{"namespaceSelector": {}}], "ports": [{"port": 8000}]}]
