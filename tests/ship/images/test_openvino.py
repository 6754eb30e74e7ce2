"""The image of the CPU worker has the parts of OpenVINO that the engine needs, and no others."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from tests.ship.images.dockerfile import ROOT, stages
from tests.workers.engine.tiny_export import tiny_settings
from workers.engine import find_export

_LOAD = """
import pathlib, sys, numpy, openvino
from workers.engine.openvino_engine import OpenvinoEngine, computes_bf16
for precision in ["fp32", "bf16"][: 1 + computes_bf16()]:
    engine = OpenvinoEngine.load(pathlib.Path(sys.argv[1]), precision=precision, cores=2)
    engine.predict(numpy.zeros((9, 32, 32, 3), numpy.uint8))
print(openvino.__file__)
"""


def test_the_engine_works_with_what_the_image_leaves_of_openvino(tmp_path: Path) -> None:
    spec = find_spec("openvino")
    assert spec and spec.origin
    packages = tmp_path / "venv/lib/python3.11/site-packages"
    shutil.copytree(Path(spec.origin).parent, packages / "openvino")
    [run] = [line for line in stages("Dockerfile.worker")["cpu-dependencies"].all("RUN")]
    [command] = re.findall(r"find .*", " ".join(run.split()))
    subprocess.run(["sh", "-ec", command.replace("/venv", f"{tmp_path}/venv")], check=True)
    left = sum(each.stat().st_size for each in packages.rglob("*") if each.is_file())
    assert left < 120 * 2**20

    export = find_export(tiny_settings(tmp_path))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(packages)}
    loaded = subprocess.run(
        [sys.executable, "-c", _LOAD, str(export)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.startswith(str(packages))
