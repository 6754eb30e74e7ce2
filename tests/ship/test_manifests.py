"""Every overlay renders, keeps to the schemas, and says what the code says."""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject, TriggerAuthentication
from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule, ServiceMonitor

from tests.support.ports import free_port
from quickstart import redis_server
from shared import keys, webhook_address
from shared.errors import InvalidWebhook
from shared.jobs import Lane
from shared.settings import Settings
from web.app import VERSION, create_app

_ROOT = Path(__file__).parents[2]
_VERSION = "1.37"  #: Of Kubernetes.
_NAMESPACE = "image-classifier"
#: Of filebeat alone, which reads files of the node.
_PRIVILEGED = "image-classifier-logging"
_RENDERED = sorted(str(path.relative_to(_ROOT / "k8s")) for path in _ROOT.glob("k8s/overlays/*"))

Object = dict[str, Any]
Objects = list[Object]
Kustomize = Callable[..., Objects]

_CUSTOM = {
    "ScaledObject": ScaledObject,
    "TriggerAuthentication": TriggerAuthentication,
    "ServiceMonitor": ServiceMonitor,
    "PodMonitor": PodMonitor,
    "PrometheusRule": PrometheusRule,
}
#: Younger than the models above (KEDA 2.16); from KEDA's own ScaledObject type, release 2.17.
_FALLBACK_BEHAVIORS = {
    *("static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"),
    "scalingModifiers",
}


@pytest.fixture(params=_RENDERED)
def whole(kustomize: Kustomize, request: pytest.FixtureRequest) -> Objects:
    return kustomize(request.param)


@pytest.fixture(scope="module")
def cpu(kustomize: Kustomize) -> Objects:
    return kustomize("overlays/cpu")


def _of(objects: Objects, kind: str) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def _pods(objects: Objects) -> Iterator[tuple[str, Object]]:
    """Every Pod template of the namespace: its owner's name, and its metadata and spec."""
    for each in objects:
        if each["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield each["metadata"]["name"], each["spec"]["template"]


def _labels(pod: Object) -> dict[str, str]:
    labels: dict[str, str] = pod["metadata"]["labels"]
    return labels


def _selects(selector: Object, labels: dict[str, str]) -> bool:
    for each in selector.get("matchExpressions", ()):
        assert each["operator"] == "In"
        if labels.get(each["key"]) not in each["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def test_every_object_keeps_to_its_schema(whole: Objects) -> None:
    for each in whole:
        if model := _CUSTOM.get(each["kind"]):
            _check_custom(each, model)
        elif "." not in each["apiVersion"].partition("/")[0] or ".k8s.io/" in each["apiVersion"]:
            kubernetes_validate.validate(each, _VERSION, strict=True)
        else:
            raise AssertionError(f"{each['apiVersion']} {each['kind']} is not checked")


def _check_custom(each: Object, model: Any) -> None:
    """Types and required fields by the model; a field that it does not know would get lost."""
    each = yaml.safe_load(yaml.safe_dump(each))
    if behavior := each["spec"].get("fallback", {}).pop("behavior", None):
        assert behavior in _FALLBACK_BEHAVIORS
    read = model.model_validate(each).model_dump(by_alias=True, exclude_unset=True, mode="json")
    assert read == each


def test_everything_is_in_one_namespace_where_pods_are_restricted(whole: Objects) -> None:
    namespaces = _of(whole, "Namespace")
    labels = namespaces.pop(_NAMESPACE)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    elsewhere = [each for each in whole if each["metadata"].get("namespace") == _PRIVILEGED]
    assert {each["kind"] for each in elsewhere} <= {"DaemonSet", "ConfigMap", "NetworkPolicy"}
    assert set(namespaces) == ({_PRIVILEGED} if elsewhere else set())
    cluster_wide = ("Namespace", "PriorityClass")
    for each in whole:
        if each["kind"] not in cluster_wide and each not in elsewhere:
            assert each["metadata"]["namespace"] == _NAMESPACE, each["metadata"]["name"]


def test_every_pod_keeps_to_the_restricted_standard(whole: Objects) -> None:
    for name, pod in _pods(whole):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        kinds = {next(iter(set(volume) - {"name"})) for volume in spec["volumes"]}
        assert kinds <= {"configMap", "secret", "emptyDir", "projected"}, name
        for container in spec["containers"]:
            security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
            # Elastic's programs write beside their code.
            if name not in ("elasticsearch", "kibana", "logstash"):
                security["readOnlyRootFilesystem"] = True
            assert container["securityContext"] == security
            assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]


def _service_links(objects: Objects) -> dict[str, str]:
    """The variables that a kubelet sets in each Pod for the Services of the namespace."""
    links = {}
    for number, (name, service) in enumerate(_of(objects, "Service").items()):
        prefix, address = name.upper().replace("-", "_"), f"10.96.0.{number + 1}"
        first, *_ = ports = [each["port"] for each in service["spec"]["ports"]]
        links |= {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(first)}
        links[f"{prefix}_PORT"] = f"tcp://{address}:{first}"
        for port in ports:
            links[f"{prefix}_PORT_{port}_TCP"] = f"tcp://{address}:{port}"
            links[f"{prefix}_PORT_{port}_TCP_PORT"] = str(port)
    return links


def test_no_pod_gets_variables_from_services(whole: Objects) -> None:
    """The Services `web` and `flower` would set WEB_PORT and FLOWER_PORT to an address."""
    owners = [each for each in whole if "template" in each.get("spec", {})]
    assert len(owners) >= 6
    for owner in owners:
        spec = owner["spec"]["template"]["spec"]
        assert spec["enableServiceLinks"] is False, owner["metadata"]["name"]


@pytest.mark.parametrize("program", ["gunicorn", "worker", "webhooks", "flower", "health"])
def test_each_program_would_start_beside_the_variables_of_services(
    kustomize: Kustomize, program: str, tmp_path: Path
) -> None:
    """Somebody may run an image in a Pod of their own, without `enableServiceLinks: false`."""
    overlays = [kustomize(folder) for folder in _RENDERED]
    links = {name: value for each in overlays for name, value in _service_links(each).items()}
    assert links["WEB_PORT"].startswith("tcp://") and links["FLOWER_PORT"].startswith("tcp://")
    modules = {
        "gunicorn": "runpy.run_path('web/server/gunicorn.conf.py')",
        "worker": "import workers.app",
        "webhooks": "import workers.webhooks.app",
        "flower": "import workers.flower",
        "health": "import workers.upkeep.health",
    }
    started = subprocess.run(
        [sys.executable, "-c", f"import runpy; {modules[program]}; print('started')"],
        env=os.environ | {"DATA_DIR": str(tmp_path)} | links,
        cwd=_ROOT,
        capture_output=True,
        text=True,
    )
    assert started.stdout == "started\n", started.stderr
    for name in ("WEB_PORT", "FLOWER_PORT") if program != "health" else ():
        assert (
            started.stderr.count(f"{name}={links[name]} is the address of a Kubernetes Service")
            == 1
        )


def test_images_are_those_that_are_built_or_pinned(whole: Objects) -> None:
    ours = {"web", "worker", "worker-gpu", "flower"}
    for name, pod in _pods(whole):
        for container in pod["spec"]["containers"]:
            image, _, tag = container["image"].rpartition(":")
            folder, _, last = image.rpartition("/")
            if folder.endswith("image-classifier"):
                assert last in ours and tag == VERSION, name
            else:
                assert re.match(r"v?\d+\.\d+\.\d+", tag), container["image"]


def test_selectors_find_what_they_are_for(whole: Objects) -> None:
    pods = dict(_pods(whole))
    for name, service in _of(whole, "Service").items():
        found = [
            p for p in pods.values() if service["spec"]["selector"].items() <= _labels(p).items()
        ]
        assert len(found) == 1, name
        ports = {p["name"]: p["containerPort"] for p in found[0]["spec"]["containers"][0]["ports"]}
        for port in service["spec"]["ports"]:
            assert ports[port.get("targetPort", port["name"])] == port["port"], name
    for name, budget in _of(whole, "PodDisruptionBudget").items():
        found = [n for n, p in pods.items() if _selects(budget["spec"]["selector"], _labels(p))]
        assert found == [name]
    for name, pod in pods.items():
        for spread in pod["spec"].get("topologySpreadConstraints", ()):
            assert _selects(spread["labelSelector"], _labels(pod)), name
    for scaler in ("HorizontalPodAutoscaler", "ScaledObject"):
        for name, each in _of(whole, scaler).items():
            assert each["spec"]["scaleTargetRef"]["name"] == name
            assert "replicas" not in _of(whole, "Deployment")[name]["spec"], "the scaler counts"


def test_monitors_find_what_they_are_for(monitored: Objects) -> None:
    services = [
        each["metadata"]["labels"]
        for each in _of(monitored, "Service").values()
        if "labels" in each["metadata"]
    ]
    labels = {
        "ServiceMonitor": services,
        "PodMonitor": [_labels(pod) for _, pod in _pods(monitored)],
    }
    for kind, known in labels.items():
        for name, monitor in _of(monitored, kind).items():
            assert any(_selects(monitor["spec"]["selector"], each) for each in known), name


def test_priorities_are_declared(whole: Objects) -> None:
    for name, pod in _pods(whole):
        assert pod["spec"]["priorityClassName"] in _of(whole, "PriorityClass"), name


def test_settings_are_settings(whole: Objects) -> None:
    configs = _of(whole, "ConfigMap")
    for name, pod in _pods(whole):
        [container] = pod["spec"]["containers"]
        if not re.match(r".*image-classifier/(web|worker)", container["image"]):
            continue
        [source] = container["envFrom"]
        values = dict(configs[source["configMapRef"]["name"]]["data"])
        values |= {each["name"]: each["value"] for each in container.get("env", ())}
        assert {each.lower() for each in values} <= set(Settings.model_fields), name
        settings = Settings(**{key.lower(): value for key, value in values.items()})
        if name.startswith("worker"):
            assert settings.lane == name.removeprefix("worker-")
            ports = {"metrics": _image_setting("METRICS_PORT")}
        else:
            ports = {"http": settings.web_port} if name == "web" else {}
        assert {p["name"]: p["containerPort"] for p in container.get("ports", ())} == ports


def test_the_settings_that_are_suggested_are_settings() -> None:
    text = (_ROOT / "k8s/base/settings.env").read_text()
    suggested = dict(re.findall(r"(?m)^# ([A-Z_]+)=(.*)", text))
    assert {"FLOWER_URL", "GRAFANA_URL", "KIBANA_URL"} == set(suggested)
    Settings(**{name.lower(): value for name, value in suggested.items()})


def test_web_asks_for_a_key(whole: Objects) -> None:
    web = dict(_pods(whole))["web"]["spec"]
    asked = {each["name"]: each["value"] for each in web["containers"][0]["env"]}["API_KEYS_FILE"]
    [volume] = [each["projected"] for each in web["volumes"] if each["name"] == "secrets"]
    mounted = {
        f"/run/secrets/{item['path']}": _of(whole, "Secret")[source["secret"]["name"]]["data"]
        for source in volume["sources"]
        for item in source["secret"]["items"]
    }
    assert base64.b64decode(mounted[asked]["api_keys"]).startswith(b"operator:")


def _image_setting(name: str) -> int:
    """What the workers' image sets."""
    [value] = re.findall(rf"{name}=(\d+)", (_ROOT / "Dockerfile.worker").read_text())
    return int(value)


def test_every_lane_has_workers_and_a_scaler_that_reads_its_backlog(whole: Objects) -> None:
    workers = {name for name, _ in _pods(whole) if name.startswith("worker")}
    scalers = _of(whole, "ScaledObject")
    assert workers == set(scalers) == {f"worker-{lane}" for lane in Lane}
    [redis] = [each for name, each in _of(whole, "Service").items() if name == "redis"]
    address = f"redis.{_NAMESPACE}.svc.cluster.local:{redis['spec']['ports'][0]['port']}"
    for lane in Lane:
        [trigger] = scalers[f"worker-{lane}"]["spec"]["triggers"]
        assert trigger["metadata"]["listName"] == keys.outstanding(lane)
        assert trigger["metadata"]["address"] == address
        # KEDA's admission refuses a fallback without it.
        assert trigger["metricType"] == "AverageValue"
        assert trigger["authenticationRef"]["name"] in _of(whole, "TriggerAuthentication")


def test_bulk_goes_to_zero_and_interactive_never(whole: Objects) -> None:
    scalers = {name: each["spec"] for name, each in _of(whole, "ScaledObject").items()}
    assert scalers["worker-bulk"]["minReplicaCount"] == 0
    assert scalers["worker-interactive"]["minReplicaCount"] >= 1
    for spec in scalers.values():
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
        assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 60
        assert spec["fallback"]["replicas"] <= spec["maxReplicaCount"]


def test_times_to_stop_agree_with_the_longest_work(whole: Objects) -> None:
    settings = Settings()
    pods = dict(_pods(whole))
    for lane in Lane:
        grace = pods[f"worker-{lane}"]["spec"]["terminationGracePeriodSeconds"]
        assert grace > settings.batch_time_limit_seconds
    # Whatever is delivered a second time is delivered before the last worker goes.
    cooldown = _of(whole, "ScaledObject")["worker-bulk"]["spec"]["cooldownPeriod"]
    assert cooldown >= settings.batch_time_limit_seconds + settings.part_deadline_seconds
    web = pods["web"]["spec"]
    pause = int(web["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    gunicorn = runpy.run_path(str(_ROOT / "web/server/gunicorn.conf.py"))
    assert web["terminationGracePeriodSeconds"] >= gunicorn["graceful_timeout"] + pause + 5


@pytest.fixture(scope="module")
def routes() -> set[str]:
    app = create_app(Settings(redis_url="redis://127.0.0.1:1/0", log_level="ERROR"))
    app.extensions["backend"].close()
    return {re.sub("<.*", "x", rule.rule) for rule in app.url_map.iter_rules()}


def test_probes_ask_what_answers(whole: Objects, routes: set[str]) -> None:
    known = {"web": routes, "flower": {"/healthcheck"}, "celery-exporter": {"/health"}}
    known |= {"redis-exporter": {"/health"}, "kibana": {"/api/status"}}
    for name, pod in _pods(whole):
        [container] = pod["spec"]["containers"]
        probes = {kind: container[kind] for kind in container if kind.endswith("Probe")}
        assert {"startupProbe", "livenessProbe"} <= set(probes) or name == "logging-setup"
        for kind, probe in probes.items():
            if asked := probe.get("httpGet"):
                assert asked["path"] in known[name]
                assert asked["port"] in {port["name"] for port in container["ports"]}
            elif name.startswith("worker"):
                assert probe["exec"]["command"] == ["python", "-m", "workers.upkeep.health"], kind
            elif name == "webhooks":
                asked = probe["exec"]["command"]
                assert asked == ["python", "-m", "workers.upkeep.health", "webhooks"], kind
    web = _of(whole, "Deployment")["web"]["spec"]["template"]["spec"]["containers"][0]
    assert web["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert web["livenessProbe"]["httpGet"]["path"] == "/livez"


def test_everybody_reaches_all_but_measurements_and_probes(
    whole: Objects, routes: set[str]
) -> None:
    [ingress] = _of(whole, "Ingress").values()
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


def test_the_ingress_is_as_nginx_is(cpu: Objects) -> None:
    [ingress] = _of(cpu, "Ingress").values()
    nginx = (_ROOT / "nginx/service.conf").read_text()
    said = dict(re.findall(r"(?m)^ +(client_max_body_size|proxy_\w+) ([^;]+);", nginx))
    said["proxy_body_size"] = said["client_max_body_size"]
    for annotation, value in ingress["metadata"]["annotations"].items():
        prefix, _, name = annotation.partition("/")
        if prefix == "nginx.ingress.kubernetes.io":
            assert said[name.replace("-", "_")].rstrip("s") == value, name
    assert ingress["spec"]["tls"][0]["hosts"] == [ingress["spec"]["rules"][0]["host"]]


def test_a_change_of_settings_or_passwords_rolls_the_pods(kustomize: Kustomize) -> None:
    def used(objects: Objects) -> str:
        return str(_of(objects, "Deployment")["web"]["spec"]["template"])

    before = kustomize("overlays/cpu")
    edit = ("k8s/base/settings.env", "TRUSTED_PROXIES=1", "TRUSTED_PROXIES=2")
    assert used(before) != used(kustomize("overlays/cpu", edit))
    secrets = _of(before, "Secret")
    for _, pod in _pods(before):
        for volume in pod["spec"]["volumes"]:
            if "secret" in volume:
                assert volume["secret"]["secretName"] in secrets
    [authentication] = _of(before, "TriggerAuthentication").values()
    assert authentication["spec"]["secretTargetRef"][0]["name"] in secrets


#: Who may speak with Redis; of the service nobody speaks with anybody else.
_CLIENTS = {"web", "worker-interactive", "worker-bulk", "flower", "celery-exporter"}


def test_network_policies_let_exactly_the_needed_paths_through(whole: Objects) -> None:
    policies = [
        each
        for each in _of(whole, "NetworkPolicy").values()
        if each["metadata"]["namespace"] == _NAMESPACE
    ]
    pods = {name: _labels(pod) for name, pod in _pods(whole)}
    ports = {
        port["containerPort"]
        for _, pod in _pods(whole)
        for port in pod["spec"]["containers"][0].get("ports", ())
    }
    open_paths = {
        (source, target, port)
        for source in pods
        for target in pods
        for port in ports
        if _allowed(policies, "Egress", pods[source], pods[target], port)
        and _allowed(policies, "Ingress", pods[target], pods[source], port)
    }
    clients = _CLIENTS | {"redis-exporter", "webhooks"} & set(pods)
    paths = {(source, "redis", 6379) for source in clients}
    if "kibana" in pods:
        asking = ("kibana", "logstash", "logging-setup")
        paths |= {(source, "elasticsearch", 9200) for source in asking}
        paths |= {("logging-setup", "kibana", 5601)}
    assert open_paths == paths


def _allowed(
    policies: Objects, kind: str, of: dict[str, str], peer: dict[str, str], port: int
) -> bool:
    """Whether policies let a Pod's traffic of this kind with another Pod of the namespace pass."""
    applying = [
        each["spec"]
        for each in policies
        if kind in each["spec"]["policyTypes"] and _selects(each["spec"]["podSelector"], of)
    ]
    assert applying, "denied unless it is said"
    side = {"Egress": "to", "Ingress": "from"}[kind]
    return any(
        port in {each["port"] for each in rule["ports"]}
        and any(
            not {"namespaceSelector", "ipBlock"} & set(one)
            and _selects(one.get("podSelector", {}), peer)
            for one in rule[side]
        )
        for spec in applying
        for rule in spec.get(kind.lower(), ())
    )


def _bytes(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(\w+)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"Gi": 2**30, "gb": 2**30, "Mi": 2**20}[unit]


def test_redis_has_room_for_what_may_wait(whole: Objects) -> None:
    spec = _of(whole, "StatefulSet")["redis"]["spec"]
    configs = _of(whole, "ConfigMap")
    [volume] = [v for v in spec["template"]["spec"]["volumes"] if v["name"] == "config"]
    conf = configs[volume["configMap"]["name"]]["data"]["redis.conf"]
    limit = _bytes(re.findall(r"(?m)^maxmemory (\S+)", conf)[0])
    memory = spec["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
    storage = spec["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
    assert limit <= 0.75 * _bytes(memory) and 3 * limit <= _bytes(storage)
    [held] = [c["data"]["MAX_BYTES_HELD"] for n, c in configs.items() if n.startswith("settings")]
    assert int(held) < 0.9 * limit


@pytest.mark.parametrize("file", ["base/redis.conf", "overlays/local/redis.conf"])
def test_a_real_redis_takes_the_configuration(file: str, tmp_path: Path) -> None:
    text = (_ROOT / "k8s" / file).read_text()
    assert "noeviction" in text and re.search(r"(?m)^appendonly yes$", text)
    # `everysec` answers what it has not written.
    assert re.findall(r"(?m)^appendfsync (\w+)", text)[0] in ("always", "no")
    (tmp_path / "redis.conf").write_text(text.replace("dir /data", f"dir {tmp_path}"))
    command = [redis_server.find(), tmp_path / "redis.conf", "--port", str(free_port())]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        started = any("Ready to accept connections" in line for line in server.stdout)
        server.terminate()
    assert started


def test_a_redis_of_somebody_else_takes_the_place_of_ours(
    kustomize: Kustomize, tmp_path: Path
) -> None:
    edit = (
        "k8s/overlays/cpu/kustomization.yaml",
        "resources: [../../base]",
        "resources: [../../base]\ncomponents: [../../components/managed-redis]",
    )
    objects = kustomize("overlays/cpu", edit)
    assert not _of(objects, "StatefulSet") and "redis" not in _of(objects, "Service")
    for each in _of(objects, "ScaledObject").values():
        assert each["spec"]["triggers"][0]["metadata"]["enableTLS"] == "true"
        _check_custom(each, ScaledObject)


@pytest.fixture(scope="module")
def told(kustomize: Kustomize) -> Objects:
    return kustomize("overlays/webhooks")


def test_the_webhooks_worker_is_the_one_of_one_machine(told: Objects) -> None:
    services = yaml.safe_load((_ROOT / "docker-compose.yml").read_text())["services"]
    pods = {name: pod["spec"] for name, pod in _pods(told)}
    [container] = pods["webhooks"]["containers"]
    assert container["args"] == services["webhooks"]["command"]
    assert container["image"] == pods["worker-bulk"]["containers"][0]["image"]
    grace = pods["webhooks"]["terminationGracePeriodSeconds"]
    assert grace > Settings().webhook_timeout_seconds
    mounted = {
        item["path"]
        for volume in pods["webhooks"]["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
        for item in source["secret"]["items"]
    }
    assert mounted == {"redis_url", "webhook_secret"} == mounted & set(Settings.model_fields)


def test_web_takes_webhooks_where_their_worker_is(told: Objects, cpu: Objects) -> None:
    def taken(objects: Objects) -> bool:
        [container] = dict(_pods(objects))["web"]["spec"]["containers"]
        name = container["envFrom"][0]["configMapRef"]["name"]
        data = _of(objects, "ConfigMap")[name]["data"]
        return Settings(**{key.lower(): value for key, value in data.items()}).webhooks

    assert taken(told) and not taken(cpu)


def test_webhooks_reach_public_addresses_and_no_others(told: Objects) -> None:
    """Those that the worker allows itself: of version 4 exactly, of version 6 none besides."""
    [egress] = _of(told, "NetworkPolicy")["webhooks"]["spec"]["egress"]
    blocks = {}
    for each in egress["to"]:
        block = ipaddress.ip_network(each["ipBlock"]["cidr"])
        blocks[block] = [ipaddress.ip_network(text) for text in each["ipBlock"]["except"]]
        # The API refuses what is not inside.
        assert all(part.subnet_of(block) for part in blocks[block])  # type: ignore[arg-type]

    def reached(address: webhook_address.Address) -> bool:
        return any(
            address in block and not any(address in part for part in parts)
            for block, parts in blocks.items()
        )

    edges = {
        edge + step
        for part in (each for parts in blocks.values() for each in parts)
        for edge in (part.network_address, part.broadcast_address)
        for step in (-1, 0, 1)
        if int(edge) + step in range(2**part.max_prefixlen)
    }
    wide = [ipaddress.IPv4Address(upper << 16) for upper in range(2**16)]
    for address in [*edges, *wide, *map(ipaddress.ip_address, ("::1", "fd00::1", "fe80::1"))]:
        public = webhook_address.is_public(address)
        assert reached(address) <= public, address
        assert reached(address) == public or address.version == 6, address
    ports = {(each["port"], each.get("endPort", each["port"])) for each in egress["ports"]}
    for port in (22, 25, 80, 443, 1023, 1024, 8443, 65535):
        open_here = any(first <= port <= last for first, last in ports)
        assert open_here == _is_allowed(port), port


def _is_allowed(port: int) -> bool:
    try:
        webhook_address.target(f"https://receiver.example:{port}/")
    except InvalidWebhook:
        return False
    return True


@pytest.fixture(scope="module")
def monitored(kustomize: Kustomize) -> Objects:
    return kustomize("overlays/monitoring")


def test_the_rules_are_those_of_the_files(monitored: Objects) -> None:
    [rules] = _of(monitored, "PrometheusRule").values()
    files = sorted((_ROOT / "monitoring/prometheus/rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    assert rules["spec"]["groups"] == groups, "run: python k8s/generate.py"


def test_dashboards_are_offered_to_grafana(monitored: Objects) -> None:
    offered = {
        name
        for each in _of(monitored, "ConfigMap").values()
        if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
        for name in each["data"]
    }
    files = (_ROOT / "monitoring/grafana/dashboards").glob("*.json")
    assert offered == {path.name for path in files}


def test_everything_is_scraped_that_prometheus_scrapes_on_one_machine(monitored: Objects) -> None:
    """Under the same names, for rules and dashboards ask by them; nodes are the cluster's own."""
    config = yaml.safe_load((_ROOT / "monitoring/prometheus/prometheus.yml").read_text())
    jobs = {each["job_name"] for each in config["scrape_configs"]} - {"prometheus", "node"}
    found = {}
    for kind in ("ServiceMonitor", "PodMonitor"):
        for monitor in _of(monitored, kind).values():
            spec = monitor["spec"]
            [endpoint] = spec.get("endpoints") or spec["podMetricsEndpoints"]
            [named] = endpoint["relabelings"]
            assert named["targetLabel"] == "job"
            found[named["replacement"]] = (spec["selector"]["matchLabels"], endpoint["port"])
    assert set(found) == jobs
    policies = list(_of(monitored, "NetworkPolicy").values())
    pods = dict(_pods(monitored))
    for labels, port_name in found.values():
        for pod in pods.values():
            if labels.items() <= _labels(pod).items():
                ports = {
                    p["name"]: p["containerPort"] for p in pod["spec"]["containers"][0]["ports"]
                }
                assert _open_to(policies, "monitoring", _labels(pod), ports[port_name])


def _open_to(policies: Objects, namespace: str, of: dict[str, str], port: int) -> bool:
    wanted = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return any(
        port in {each["port"] for each in rule["ports"]}
        and any(one.get("namespaceSelector") == wanted for one in rule["from"])
        for policy in policies
        if _selects(policy["spec"]["podSelector"], of)
        for rule in policy["spec"].get("ingress", ())
    )


def test_the_log_stack_is_the_one_of_one_machine(kustomize: Kustomize) -> None:
    """The same files, images and addresses as in Compose; lines of our Pods go to logstash."""
    logged = kustomize("overlays/logging")
    services = yaml.safe_load((_ROOT / "docker-compose.yml").read_text())["services"]
    pods = dict(_pods(logged))
    for name in ("elasticsearch", "kibana", "logstash"):
        [container] = pods[name]["spec"]["containers"]
        assert container["image"] == services[name]["image"]
        # But for memory, which a cluster has more of.
        alone = {k: v for k, v in services[name]["environment"].items() if "JAVA_OPTS" not in k}
        assert alone.items() <= {e["name"]: e["value"] for e in container["env"]}.items()
    [filebeat] = _of(logged, "DaemonSet").values()
    [container] = filebeat["spec"]["template"]["spec"]["containers"]
    assert container["image"] == services["filebeat"]["image"]
    data = {key for each in _of(logged, "ConfigMap").values() for key in each["data"]}
    shipped = {path.name for path in (_ROOT / "logging").rglob("*") if path.is_file()}
    used = {name.removeprefix("elasticsearch-").removeprefix("kibana-") for name in data}
    assert shipped - used == {"README.md", "kustomization.yaml"}
    read = (_ROOT / "k8s/components/logging/filebeat.yml").read_text()
    assert f"/var/log/pods/{_NAMESPACE}_*/" in read
    port = _of(logged, "Service")["logstash"]["spec"]["ports"][0]["port"]
    assert f"logstash.{_NAMESPACE}.svc.cluster.local:{port}" in read
    assert f"port => {port}" in (_ROOT / "logging/logstash/pipeline/classifier.conf").read_text()
