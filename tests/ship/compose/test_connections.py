"""The services reach each other, and only a few of them reach the world."""

from __future__ import annotations

import re
from typing import Any

import yaml

from shared.settings import Settings
from tests.ship.compose.file import FILE, OURS, ROOT, Services, nginx


def test_only_what_runs_is_published_and_consoles_only_on_this_machine(services: Services) -> None:
    """A port in use, or of a profile that does not run, must not stop nginx."""
    assert services["nginx"]["ports"] == ["${HTTP_PORT:-80}:8080"]
    assert "listen 8080" in nginx()
    published: dict[str, dict[str, str]] = {}
    for name, service in services.items():
        for each in service.get("ports", ()) if name != "nginx" else ():
            [found] = re.findall(r"^127.0.0.1:\$\{(\w+):-(\d+)\}:(\d+)$", each)
            setting, usual, port = found
            assert usual == port and f"listen {port}" in nginx()
            [profile] = service.get("profiles", [""])
            published.setdefault(profile, {})[setting] = port
    assert published == {
        "": {"FLOWER_HTTP_PORT": "5555"},
        "monitoring": {
            "GRAFANA_HTTP_PORT": "3000",
            "PROMETHEUS_HTTP_PORT": "9090",
            "ALERTMANAGER_HTTP_PORT": "9093",
        },
        "logging": {"KIBANA_HTTP_PORT": "5601"},
    }
    document = (ROOT / "docs/deploy.md").read_text()
    for settings in published.values():
        assert all(f"`{setting}`" in document for setting in settings)


def test_each_console_is_published_in_its_own_profile(services: Services) -> None:
    consoles = dict(re.findall(r"set \$console http://(\w+):(\d+);", nginx()))
    for console, port in consoles.items():
        [proxy] = [
            each
            for name, each in services.items()
            if name.startswith("console-") and any(p.endswith(f":{port}") for p in each["ports"])
        ]
        assert proxy.get("profiles") == services[console].get("profiles"), console
        assert set(proxy["networks"]) & set(services[console]["networks"]), console
        [mounted] = proxy["volumes"]
        assert proxy["command"][:3] == ["nginx", "-c", "/etc/nginx/consoles.conf"]
        assert mounted == "./nginx:/etc/nginx:ro" and (ROOT / "nginx/consoles.conf").exists()


def test_only_nginx_webhooks_and_alertmanager_reach_the_world(
    compose: dict[str, Any], services: Services
) -> None:
    outside = {name for name, each in compose["networks"].items() if not each.get("internal")}
    reaching = {name for name, each in services.items() if outside & set(each["networks"])}
    consoles = {name for name in services if name.startswith("console-")}
    assert reaching == {"nginx", "webhooks", "alertmanager"} | consoles
    assert not set(services["nginx"]["networks"]) & set(services["webhooks"]["networks"])


def test_nginx_shares_a_network_with_each_service_that_it_names(services: Services) -> None:
    named = re.findall(r"(?:server (\w+):\d+ resolve|http://(\w[\w-]*):\d+;)", nginx())
    names = {left or right for left, right in named} & set(services)
    assert {"web", "flower"} <= names
    for name in names:
        assert set(services[name]["networks"]) & set(services["nginx"]["networks"]), name


def test_the_suggested_links_lead_to_the_consoles() -> None:
    suggested = dict(
        re.findall(r"(?m)^#     ((?:FLOWER|GRAFANA|KIBANA)_URL)=(\S+)$", FILE.read_text())
    )
    assert len(suggested) == 3
    Settings(**{name.lower(): address for name, address in suggested.items()})
    for name, address in suggested.items():
        port = address.removeprefix("http://localhost:")
        console = name.removesuffix("_URL").lower()
        assert re.search(rf"set \$console http://{console}:{port};", nginx()), name


def test_prometheus_reaches_each_program_that_it_scrapes(services: Services) -> None:
    config = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())
    scraped: set[tuple[str, int]] = set()
    for job in config["scrape_configs"]:
        for lookup in job.get("dns_sd_configs", ()):
            scraped |= {(name, lookup["port"]) for name in lookup["names"]}
        addresses = [each for listed in job.get("static_configs", ()) for each in listed["targets"]]
        if job["job_name"] == "front-door":
            [addresses] = [[r["replacement"]] for r in job["relabel_configs"] if "replacement" in r]
        scraped |= {(h, int(p)) for h, p in (each.split(":") for each in addresses)}
    for name, port in scraped - {("localhost", 9090)}:
        assert port in _listening(services[name]), (name, port)
        assert set(services[name]["networks"]) & set(services["prometheus"]["networks"])


def test_the_front_door_is_probed_where_clients_come_in(services: Services) -> None:
    config = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())
    [job] = [each for each in config["scrape_configs"] if each["job_name"] == "front-door"]
    [listed] = job["static_configs"]
    assert listed["targets"] == ["http://nginx:8080/api/v1/health"]
    assert "listen 8080" in nginx()
    assert set(services["blackbox-exporter"]["networks"]) & set(services["nginx"]["networks"])
    modules = yaml.safe_load((ROOT / "monitoring/blackbox/blackbox.yml").read_text())["modules"]
    assert set(job["params"]["module"]) == set(modules)


def test_prometheus_sends_alerts_to_alertmanager(services: Services) -> None:
    config = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())
    [manager] = config["alerting"]["alertmanagers"]
    assert manager["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    networks = [set(services[name]["networks"]) for name in ("prometheus", "alertmanager")]
    assert set.intersection(*networks)


def _listening(service: dict[str, Any]) -> set[int]:
    """The ports of an image. Our Dockerfiles expose them, and exporters have well-known ones."""
    exporters = {"celery-exporter": 9808, "redis_exporter": 9121, "node-exporter": 9100}
    exporters["blackbox-exporter"] = 9115
    image = service["image"].rpartition(":")[0]
    if not image.startswith(OURS):
        return {port for name, port in exporters.items() if image.endswith(name)}
    text = (ROOT / service["build"]["dockerfile"]).read_text()
    if target := service["build"].get("target"):
        stages = {part.split()[2]: part for part in text.split("\nFROM ")[1:] if " AS " in part}
        text = stages[target] + stages["worker" if target in ("cpu", "gpu") else target]
    return {int(port) for port in re.findall(r"(?m)^EXPOSE (\d+)", text)}


def test_grafana_finds_its_dashboards_and_prometheus(services: Services) -> None:
    mounted = {v.split(":")[1] for v in services["grafana"]["volumes"]}
    folder = ROOT / "monitoring/grafana/provisioning"
    provider = yaml.safe_load((folder / "dashboards/dashboards.yml").read_text())
    source = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())
    assert provider["providers"][0]["options"]["path"] in mounted
    assert source["datasources"][0]["url"] == "http://prometheus:9090"


def test_the_log_stack_reaches_its_parts_and_gets_its_passwords(services: Services) -> None:
    text = "".join(path.read_text() for path in (ROOT / "logging").rglob("*") if path.is_file())
    named = set(re.findall(r"\b(elasticsearch|kibana|logstash):(\d+)", text))
    assert {name for name, _ in named} == {"elasticsearch", "kibana", "logstash"}
    for name, _ in named:
        assert "logs" in services[name]["networks"]
    assert "export ELASTIC_PASSWORD" in services["logging-setup"]["entrypoint"][-1]
    for name in ("logstash", "logging-setup"):
        assert "export LOGSTASH_PASSWORD" in services[name]["entrypoint"][-1]
    # Logstash has a role of its own, and never the superuser's password.
    assert services["logstash"]["secrets"] == ["logstash_password"]
    assert "logstash-data:/usr/share/logstash/data" in services["logstash"]["volumes"]
    [paths] = re.findall(r"paths: \[(/[\w/]+)/\*", (ROOT / "logging/filebeat.yml").read_text())
    assert f"{paths}:{paths}:ro" in services["filebeat"]["volumes"]


def test_the_watchers_have_the_options_and_rights_of_the_runbook(services: Services) -> None:
    text = (ROOT / "docs/operations.md").read_text()
    options = dict(re.findall(r"(?m)^\| `([\w-]+)` \| `(-[^`]+)` \|", text))
    assert options["celery-exporter"] in services["celery-exporter"]["entrypoint"][-1]
    assert options["redis_exporter"] in services["redis-exporter"]["command"]
    assert options["flower"] in (ROOT / "Dockerfile.worker").read_text()
    [rights] = re.findall(r"(?m)^    ACL SETUSER watcher on >PASSWORD ((?:.*\n      ?)*.*)", text)
    for file in ("docker-compose.yml", "k8s/base/redis.yaml"):
        given = " ".join((ROOT / file).read_text().replace("\\\n", "").split())
        assert " ".join(rights.split()) in given, file
