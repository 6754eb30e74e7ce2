"""Secrets come from the files of `make secrets`, or exist already under the same names."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import yaml

from tests.ship.manifests.objects import ROOT, Kustomize, Objects, of_kind, pods
from tests.support.programs import installed

#: Edits the overlay `monitoring`: without Secrets, and with the component redis-users.
WITH_USERS = (
    "[../cpu]\ncomponents:\n  - ../../components/monitoring\n",
    "[../../base]\ncomponents:\n  - ../../components/monitoring\n"
    "  - ../../components/redis-users\n",
)

_KEYS = re.compile(r"(?m)^\| `([\w-]+)` \| ((?:`[\w.]+`(?:, )?)+) \|")


def _documented() -> dict[str, set[str]]:
    """The keys of each Secret in the table of docs/deploy.md."""
    text = (ROOT / "docs/deploy.md").read_text()
    return {name: set(re.findall(r"`([\w.]+)`", keys)) for name, keys in _KEYS.findall(text)}


def _mounted(objects: Objects) -> dict[str, set[str]]:
    """The keys that Pods and scalers read, by Secret."""
    read: dict[str, set[str]] = {}
    for _, pod in pods(objects):
        for volume in pod["spec"].get("volumes", ()):
            sources = [s["secret"] for s in volume.get("projected", {}).get("sources", ())]
            for secret in [*sources, *([volume["secret"]] if "secret" in volume else [])]:
                name = secret.get("name") or secret["secretName"]
                read.setdefault(name, set()).update(item["key"] for item in secret["items"])
    for authentication in of_kind(objects, "TriggerAuthentication").values():
        for each in authentication["spec"]["secretTargetRef"]:
            read.setdefault(each["name"], set()).add(each["key"])
    return read


def test_without_files_the_pods_use_the_secrets_that_the_document_lists(
    kustomize: Kustomize,
) -> None:
    read: dict[str, set[str]] = {}
    without = ("k8s/overlays/cpu/kustomization.yaml", "  - ../../base/secrets\n", "")
    rendered = [
        kustomize(f"overlays/{name}", without)
        for name in ("cpu", "monitoring", "webhooks", "logging")
    ]
    users = ("k8s/overlays/monitoring/kustomization.yaml", *WITH_USERS)
    for objects in (*rendered, kustomize("overlays/monitoring", users)):
        assert not of_kind(objects, "Secret")
        for secret, keys in _mounted(objects).items():
            read.setdefault(secret, set()).update(keys)
    assert read == _documented()


def test_the_files_make_exactly_these_secrets(kustomize: Kustomize) -> None:
    made = of_kind(kustomize("overlays/cpu"), "Secret")
    by_name = {name.rpartition("-")[0]: set(each["data"]) for name, each in made.items()}
    assert by_name == _documented()


def test_a_cell_renders_without_files_and_an_overlay_names_the_missing_one(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("redis_*", "watcher_*", "api_*", "flower_*", "*_password")
    for name in ("k8s", "monitoring"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)

    def render(folder: str) -> subprocess.CompletedProcess[str]:
        command = [installed("kubectl"), "kustomize", str(tmp_path / "k8s" / folder)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert list(yaml.safe_load_all(render("cells/one").stdout.replace("matchType: =", "")))
    missing = render("overlays/cpu")
    assert missing.returncode and "k8s/base/secrets/redis_url" in missing.stderr
