"""The manifests as `kubectl apply -k` would send them."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.ship.manifests.objects import Kustomize, Objects

_ROOT = Path(__file__).parents[2]


class _Loader(yaml.CSafeLoader):
    """Reads `=` as a text, as YAML 1.2 and Kubernetes do."""


_Loader.add_constructor("tag:yaml.org,2002:value", yaml.CSafeLoader.construct_yaml_str)


@pytest.fixture(scope="session")
def kustomize(tmp_path_factory: pytest.TempPathFactory) -> Kustomize:
    """Renders a folder of k8s/ with passwords of this run. `edit` first changes a copy."""
    if shutil.which("kubectl") is None:
        assert not os.environ.get("CI"), "continuous integration has kubectl"
        pytest.skip("kubectl is not installed")
    unchanged = tmp_path_factory.mktemp("tree")
    for name in ("k8s", "monitoring", "logging"):
        shutil.copytree(_ROOT / name, unchanged / name)
    subprocess.run([_ROOT / "secrets/create", unchanged / "k8s/base/secrets"], check=True)

    @cache
    def render(folder: str, edit: tuple[str, str, str] | None = None) -> Objects:
        tree = unchanged
        if edit:
            file, old, new = edit
            tree = Path(shutil.copytree(unchanged, tmp_path_factory.mktemp("edited") / "tree"))
            text = (tree / file).read_text()
            assert old in text
            (tree / file).write_text(text.replace(old, new))
        command = ["kubectl", "kustomize", str(tree / "k8s" / folder)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        assert not made.stderr, made.stderr
        return [each for each in yaml.load_all(made.stdout, _Loader) if each]

    return render
