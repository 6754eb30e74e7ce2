"""The manifests as `kubectl apply -k` would send them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

_ROOT = Path(__file__).parents[2]

Objects = list[dict[str, Any]]


@pytest.fixture(scope="session")
def kustomize(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Objects]:
    """Renders a folder of k8s/, with passwords made for this run; `edit` changes a copy first."""
    if shutil.which("kubectl") is None:
        assert not os.environ.get("CI"), "continuous integration has kubectl"
        pytest.skip("kubectl is not installed")

    @cache
    def render(folder: str, edit: tuple[str, str, str] | None = None) -> Objects:
        tree = tmp_path_factory.mktemp("tree")
        for name in ("k8s", "monitoring", "logging"):
            if (_ROOT / name).is_dir():
                shutil.copytree(_ROOT / name, tree / name)
        subprocess.run([_ROOT / "secrets/create", tree / "k8s/base/secrets"], check=True)
        if edit:
            file, old, new = edit
            text = (tree / file).read_text()
            assert old in text
            (tree / file).write_text(text.replace(old, new))
        command = ["kubectl", "kustomize", str(tree / "k8s" / folder)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        assert not made.stderr, made.stderr
        return [each for each in yaml.safe_load_all(made.stdout) if each]

    return render
