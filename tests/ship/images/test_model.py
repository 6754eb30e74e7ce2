"""The stage that exports the model, run here without an image."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.settings import Settings
from tests.ship.images.dockerfile import stages
from tests.ship.images.python import run_with_only

Build = Callable[[str, str], subprocess.CompletedProcess[str]]


@pytest.fixture
def build_model(tmp_path: Path) -> Build:
    """Runs the stage of the model with these weights, whose digest it must check.

    torch is absent until the stage installs it. `pip` is a program that only lets it be found.
    """
    absent = tmp_path / "absent"
    absent.mkdir()
    (absent / "torch.py").write_text("raise ModuleNotFoundError('no torch', name='torch')")
    pip = tmp_path / "bin" / "pip"
    pip.parent.mkdir()
    pip.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/installed\nrm {absent}/torch.py\n')
    pip.chmod(0o755)
    stage = stages("Dockerfile.worker")["model"]
    stage.lay_out(tmp_path / "app")
    [run] = [each for each in stage.all("RUN") if "workers.engine.export" in each]
    run = re.sub(r"^--mount=\S+", "", run)

    def build(weights: str, digest: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", run.replace("/model", f"{tmp_path}/model")],
            cwd=tmp_path / "app",
            env={
                "PATH": f"{pip.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(absent),
                "TORCH_INDEX_URL": "https://torch.example",
                "MODEL_WEIGHTS": weights,
                "MODELS_DIR": f"{tmp_path}/model/exports",
                "WEIGHTS_SHA256": digest,
                "TORCH_HOME": f"{tmp_path}/model/torch",
                "https_proxy": "http://127.0.0.1:9",  # A network without an answer.
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return build


@pytest.mark.torch
def test_the_model_is_exported_only_with_the_digest_that_was_asked_for(
    build_model: Build, tmp_path: Path
) -> None:
    made = build_model("random", "")
    assert made.returncode == 0, made.stderr[-2000:]
    assert "MODEL_WEIGHTS=random needs PyTorch" in made.stderr
    assert (tmp_path / "installed").read_text() == (
        "--python /venv/bin/python install --extra-index-url https://torch.example "
        "-r /requirements/torch.txt\n"
    )
    [export] = (tmp_path / "model/exports").glob("*.onnx")
    digest = export.name.split("-")[2]
    whole = digest + "0" * 52
    assert build_model("random", whole).returncode == 0, "the whole digest is allowed too"
    other = build_model("random", "0123456789ab")
    assert other.returncode, "other weights must not get into an image"


def test_the_demonstration_model_needs_no_digest_and_no_torch(
    build_model: Build, tmp_path: Path
) -> None:
    by_name = stages("Dockerfile.worker")
    [digest] = [each.partition("=")[2] for each in by_name["model"].all("ARG")[-1:]]
    made = build_model("demonstration", digest)
    assert made.returncode == 0, made.stderr[-2000:]
    assert not (tmp_path / "installed").exists()
    by_name["cpu"].lay_out(tmp_path / "image")
    code = (
        "from shared.settings import Settings; from workers.engine import load_engine\n"
        "settings = Settings(model_weights='demonstration', engine='onnxruntime', "
        f"models_dir={str(tmp_path / 'model/exports')!r})\n"
        "print(load_engine(settings).model.name)"
    )
    name = run_with_only("worker", code, tmp_path / "image")
    assert name.strip().endswith(" (demonstration model)")


def test_an_image_has_the_demonstration_model_where_the_default_cannot_be_downloaded(
    build_model: Build, tmp_path: Path
) -> None:
    named = build_model("DEFAULT", "5c1a4163")
    assert named.returncode and "cannot be downloaded" in named.stderr
    made = build_model("", "5c1a4163")
    assert made.returncode == 0, made.stderr[-2000:]
    assert "cannot be downloaded" in made.stderr and "MODEL_WEIGHTS=<file>" in made.stderr

    line = stages("Dockerfile.worker")["worker"].command()[-1]
    choice, _, _ = line.partition("; exec")
    for weights, chosen in ("", "demonstration"), ("/mine.pth", "/mine.pth"):
        environment = {"MODELS_DIR": f"{tmp_path}/model/exports", "MODEL_WEIGHTS": weights}
        run = subprocess.run(
            ["sh", "-c", f"{choice}; printenv MODEL_WEIGHTS"],
            env=environment | {"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == chosen


@pytest.mark.torch
def test_the_default_digest_is_that_of_torchvision() -> None:
    from workers.engine.torchvision_model import torchvision

    [named] = stages("Dockerfile.worker")["model"].all("ARG")[-1:]
    url = torchvision.models.get_model_weights(Settings.model_fields["model"].default).DEFAULT.url
    assert named == f"WEIGHTS_SHA256={url.rpartition('-')[2].removesuffix('.pth')}"
