"""The stage that exports the model, run here without an image."""

from __future__ import annotations

import os
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
    """Runs the stage of the model with these weights, whose digest it must check."""
    stage = stages("Dockerfile.worker")["model"]
    stage.lay_out(tmp_path / "app")
    [run] = [each for each in stage.all("RUN") if "workers.engine.export" in each]

    def build(weights: str, digest: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", run.replace("/model", f"{tmp_path}/model")],
            cwd=tmp_path / "app",
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
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
    [export] = (tmp_path / "model/exports").glob("*.onnx")
    digest = export.name.split("-")[2]
    whole = digest + "0" * 52
    assert build_model("random", whole).returncode == 0, "the whole digest is allowed too"
    other = build_model("random", "0123456789ab")
    assert other.returncode, "other weights must not get into an image"


@pytest.mark.torch
def test_the_demonstration_model_needs_no_digest(build_model: Build, tmp_path: Path) -> None:
    by_name = stages("Dockerfile.worker")
    [digest] = [each.partition("=")[2] for each in by_name["model"].all("ARG")[-1:]]
    made = build_model("demonstration", digest)
    assert made.returncode == 0, made.stderr[-2000:]
    by_name["cpu"].lay_out(tmp_path / "image")
    code = (
        "from shared.settings import Settings; from workers.engine import load_engine\n"
        "settings = Settings(model_weights='demonstration', engine='onnxruntime', "
        f"models_dir={str(tmp_path / 'model/exports')!r})\n"
        "print(load_engine(settings).model.name)"
    )
    name = run_with_only("worker", code, tmp_path / "image")
    assert name.strip().endswith(" (demonstration model)")


@pytest.mark.torch
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
