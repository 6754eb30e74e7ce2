"""Every Pod may start: its namespace, its rights, its image, its labels and its environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ship.manifests.objects import (
    NAMESPACE,
    OVERLAYS,
    PRIVILEGED,
    ROOT,
    Kustomize,
    Objects,
    labels,
    of_kind,
    pods,
    selects,
)
from web.app import VERSION


def test_everything_is_in_one_restricted_namespace(whole: Objects) -> None:
    namespaces = of_kind(whole, "Namespace")
    ours = namespaces.pop(NAMESPACE)["metadata"]["labels"]
    assert ours["pod-security.kubernetes.io/enforce"] == "restricted"
    elsewhere = [each for each in whole if each["metadata"].get("namespace") == PRIVILEGED]
    assert {each["kind"] for each in elsewhere} <= {"DaemonSet", "ConfigMap", "NetworkPolicy"}
    assert set(namespaces) == ({PRIVILEGED} if elsewhere else set())
    for each in whole:
        if each["kind"] not in ("Namespace", "PriorityClass") and each not in elsewhere:
            assert each["metadata"]["namespace"] == NAMESPACE, each["metadata"]["name"]


def test_every_pod_follows_the_restricted_standard(whole: Objects) -> None:
    for name, pod in pods(whole):
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


def test_each_image_is_built_here_or_has_a_version(whole: Objects) -> None:
    for name, pod in pods(whole):
        for container in pod["spec"]["containers"]:
            image, _, tag = container["image"].rpartition(":")
            folder, _, last = image.rpartition("/")
            if folder.endswith("image-classifier"):
                assert last in {"web", "worker", "worker-gpu", "flower"}, name
                assert tag == VERSION, name
            else:
                assert re.match(r"v?\d+\.\d+\.\d+", tag), container["image"]


def test_each_priority_class_exists(whole: Objects) -> None:
    for name, pod in pods(whole):
        assert pod["spec"]["priorityClassName"] in of_kind(whole, "PriorityClass"), name


def test_each_service_selects_one_pod_and_a_port_of_it(whole: Objects) -> None:
    templates = [pod for _, pod in pods(whole)]
    for name, service in of_kind(whole, "Service").items():
        [pod] = [each for each in templates if _is_selected(each, service["spec"]["selector"])]
        [container] = pod["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for port in service["spec"]["ports"]:
            assert ports[port.get("targetPort", port["name"])] == port["port"], name


def _is_selected(pod: dict[str, object], selector: dict[str, str]) -> bool:
    return selector.items() <= labels(pod).items()


def test_budgets_and_spread_constraints_select_their_own_pods(whole: Objects) -> None:
    templates = dict(pods(whole))
    for name, budget in of_kind(whole, "PodDisruptionBudget").items():
        selector = budget["spec"]["selector"]
        assert [n for n, pod in templates.items() if selects(selector, labels(pod))] == [name]
    for name, pod in templates.items():
        for spread in pod["spec"].get("topologySpreadConstraints", ()):
            assert selects(spread["labelSelector"], labels(pod)), name


def test_no_pod_gets_variables_from_services(whole: Objects) -> None:
    """The Services `web` and `flower` would set WEB_PORT and FLOWER_PORT to an address."""
    owners = [each for each in whole if "template" in each.get("spec", {})]
    assert len(owners) >= 6
    for owner in owners:
        spec = owner["spec"]["template"]["spec"]
        assert spec["enableServiceLinks"] is False, owner["metadata"]["name"]


def _service_links(objects: Objects) -> dict[str, str]:
    """The variables that a kubelet sets in each Pod for the Services of its namespace."""
    links = {}
    for number, (name, service) in enumerate(of_kind(objects, "Service").items()):
        prefix, address = name.upper().replace("-", "_"), f"10.96.0.{number + 1}"
        first, *_ = ports = [each["port"] for each in service["spec"]["ports"]]
        links |= {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(first)}
        links[f"{prefix}_PORT"] = f"tcp://{address}:{first}"
        for port in ports:
            links[f"{prefix}_PORT_{port}_TCP"] = f"tcp://{address}:{port}"
            links[f"{prefix}_PORT_{port}_TCP_PORT"] = str(port)
    return links


_IMPORTS = {
    "gunicorn": "runpy.run_path('web/server/gunicorn.conf.py')",
    "worker": "import workers.app",
    "webhooks": "import workers.webhooks.app",
    "flower": "import workers.flower",
    "health": "import workers.upkeep.health",
}


@pytest.mark.parametrize("program", _IMPORTS)
def test_each_program_starts_beside_the_variables_of_services(
    kustomize: Kustomize, program: str, tmp_path: Path
) -> None:
    """A Pod of another manifest may run our images without `enableServiceLinks: false`."""
    overlays = [kustomize(folder) for folder in OVERLAYS]
    links = {name: value for each in overlays for name, value in _service_links(each).items()}
    started = subprocess.run(
        [sys.executable, "-c", f"import runpy; {_IMPORTS[program]}; print('started')"],
        env=os.environ | {"DATA_DIR": str(tmp_path)} | links,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert started.stdout == "started\n", started.stderr
    for name in ("WEB_PORT", "FLOWER_PORT") if program != "health" else ():
        warning = f"{name}={links[name]} is the address of a Kubernetes Service"
        assert links[name].startswith("tcp://") and started.stderr.count(warning) == 1
