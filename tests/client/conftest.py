"""The client as a user has it: installed from a wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Installation:
    wheel: Path
    site: Path

    def run(self, folder: Path, *command: str, url: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in `folder`, where the clone's packages cannot be imported."""
        environment = os.environ | {
            "PYTHONPATH": str(self.site),
            "PATH": f"{self.site / 'bin'}:{os.environ['PATH']}",
            "IMAGE_CLASSIFIER_URL": url,
        }
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
        )


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel of a copy of `client/`, installed into a folder without a package index."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT / "client", folder / "client")
    pip = [sys.executable, "-m", "pip"]
    offline = ["--quiet", "--no-index", "--no-deps"]
    build = ["wheel", *offline, "--no-build-isolation", "--wheel-dir", folder, folder / "client"]
    subprocess.run([*pip, *build], check=True)
    [wheel] = folder.glob("*.whl")
    site = folder / "site"
    subprocess.run([*pip, "install", *offline, "--target", site, wheel], check=True)
    return Installation(wheel, site)
