"""k8s/preflight.py says what a cluster lacks. A fake `kubectl` stands for the cluster.

It answers `get` from a file, and passes `kustomize` on. It fails at every other command.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ship.manifests.objects import ROOT
from tests.support.programs import installed

_FAKE = """#!{python}
import json, os, sys
command, *rest = sys.argv[1:]
with open({log!r}, "a") as log:
    print(command, *rest, file=log)
if command == "kustomize":
    os.execv({real!r}, ["kubectl", command, *rest])
assert command == "get", f"it only reads: {{command}}"
names = [each for each in rest if not each.startswith("-") and each != "json"]
namespace = rest[rest.index("-n") + 1] if "-n" in rest else None
names = [each for each in names if each != namespace]
answer = json.load(open({cluster!r})).get("/".join(filter(None, [namespace, *names])))
if answer is None:
    sys.exit("NotFound")
print(json.dumps(answer))
"""


def _named(name: str, **rest: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}} | rest


def _cluster() -> dict[str, Any]:
    """What a cluster has that is ready for the overlay `cpu`."""
    keda = [{"image": "ghcr.io/kedacore/keda:2.18.0"}]
    available = {"conditions": [{"type": "Available", "status": "True"}]}
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    fast = {"metadata": {"name": "fast", "annotations": default}, "allowVolumeExpansion": True}
    node = _named("n", status={"allocatable": {"memory": "32000000Ki", "cpu": "7800m"}})
    return {
        "nodes": {"items": [node]},
        "storageclasses": {"items": [_named("slow"), fast]},
        "apiservice/v1beta1.metrics.k8s.io": _named("m", status=available),
        "customresourcedefinition/scaledobjects.keda.sh": _named("k"),
        "keda/deployment/keda-operator": _named(
            "keda-operator", spec={"template": {"spec": {"containers": keda}}}
        ),
        "ingressclass/nginx": _named("nginx"),
        "namespace/ingress-nginx": _named("ingress-nginx"),
        "image-classifier/secret/classifier-tls": _named("c", type="kubernetes.io/tls"),
    }


class Checked:
    """The result of a run: its status, its lines, and what it asked kubectl."""

    def __init__(self, run: subprocess.CompletedProcess[str], asked: str) -> None:
        assert not run.stderr, run.stderr
        self.status = run.returncode
        self.lines = run.stdout.splitlines()
        self.asked = asked.splitlines()

    def missing(self) -> list[str]:
        return [each.split(maxsplit=1)[1] for each in self.lines if each.startswith("MISSING")]


class Preflight:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "k8s", folder / "k8s")
        self.secrets = folder / "k8s/base/secrets"
        subprocess.run([ROOT / "secrets/create", self.secrets], check=True)
        self.cluster = _cluster()

    def name_everything(self) -> None:
        """Replace the placeholders, as an operator would."""
        file = self.folder / "k8s/site/kustomization.yaml"
        file.write_text(file.read_text().replace("example.com", "company.test"))

    def run(self, overlay: str = "cpu") -> Checked:
        log, cluster = self.folder / "asked", self.folder / "cluster.json"
        cluster.write_text(json.dumps(self.cluster))
        fake = self.folder / "bin/kubectl"
        fake.parent.mkdir(exist_ok=True)
        names = {"python": sys.executable, "log": str(log), "cluster": str(cluster)}
        fake.write_text(_FAKE.format(real=installed("kubectl"), **names))
        fake.chmod(0o755)
        command = [sys.executable, "k8s/preflight.py", f"k8s/overlays/{overlay}"]
        path = f"{fake.parent}:{os.environ['PATH']}"
        run = subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        return Checked(run, log.read_text())


@pytest.fixture
def preflight(tmp_path: Path) -> Preflight:
    return Preflight(tmp_path)


def test_a_cluster_that_has_everything_passes(preflight: Preflight) -> None:
    preflight.name_everything()
    checked = preflight.run()
    assert (checked.status, checked.missing()) == (0, []), checked.lines
    assert {each.split()[0] for each in checked.asked} == {"kustomize", "get"}


def test_an_unchanged_overlay_lacks_a_registry_and_a_host(preflight: Preflight) -> None:
    checked = preflight.run()
    assert checked.status == 1
    assert [each.split()[:2] for each in checked.missing()] == [["a", "registry"]] * 3 + [
        ["a", "host:"]
    ]


def test_a_plain_cluster_gets_one_line_for_each_thing_that_it_lacks(preflight: Preflight) -> None:
    preflight.name_everything()
    small = _named("n", status={"allocatable": {"memory": "4Gi", "cpu": "2"}})
    preflight.cluster = {"nodes": {"items": [small]}, "storageclasses": {"items": [_named("x")]}}
    checked = preflight.run()
    assert checked.status == 1
    lacks = (
        "KEDA (scaledobjects.keda.sh)",
        "a metrics server (v1beta1.metrics.k8s.io)",
        "a storage class for 40Gi of redis (there is no default class)",
        "a node with 16.0Gi of memory for redis",
        "the ingress class nginx",
        "the certificate: Secret classifier-tls, kubernetes.io/tls",
        "the namespace ingress-nginx of the ingress controller",
    )
    assert checked.missing() == list(lacks)


def test_an_old_keda_and_a_volume_that_cannot_grow_are_named(preflight: Preflight) -> None:
    preflight.name_everything()
    keda = preflight.cluster["keda/deployment/keda-operator"]
    keda["spec"]["template"]["spec"]["containers"][0]["image"] = "ghcr.io/kedacore/keda:2.9.1"
    preflight.cluster["storageclasses"]["items"][1].pop("allowVolumeExpansion")
    checked = preflight.run()
    assert checked.missing() == ["KEDA 2.17 or newer (it is ghcr.io/kedacore/keda:2.9.1)"]
    assert "note     volumes of the class fast cannot grow later." in checked.lines


def test_secrets_that_the_overlay_does_not_make_must_exist(preflight: Preflight) -> None:
    preflight.name_everything()
    file = preflight.folder / "k8s/overlays/cpu/kustomization.yaml"
    file.write_text(file.read_text().replace("  - ../../base/secrets\n", ""))
    preflight.cluster["image-classifier/secret/redis"] = _named("redis")
    names = [f"the Secret {name} in image-classifier" for name in ("api-keys", "flower", "watcher")]
    assert preflight.run().missing() == names


def test_a_missing_password_is_named(preflight: Preflight) -> None:
    (preflight.secrets / "redis_url").unlink()
    checked = preflight.run()
    assert checked.status == 1 and "redis_url" in checked.missing()[0]
    assert "make secrets" in checked.lines[1]


def test_the_gpu_overlay_needs_a_card(preflight: Preflight) -> None:
    preflight.name_everything()
    node = preflight.cluster["nodes"]["items"][0]["status"]["allocatable"]
    node |= {"cpu": "32", "memory": "64Gi"}
    assert any("of nvidia.com/gpu" in each for each in preflight.run("gpu").missing())
    node["nvidia.com/gpu"] = "1"
    assert not any("of nvidia.com/gpu" in each for each in preflight.run("gpu").missing())
