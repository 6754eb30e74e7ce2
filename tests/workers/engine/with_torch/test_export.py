"""An export is made once, checked and complete, or refused with a reason."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from shared.errors import ModelError
from tests.workers.engine.with_torch.squeezenet import save_pth, settings, state_of
from workers.engine import find_export, load_engine
from workers.engine.torchvision_model import load
from workers.engine.export import export

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[4]
COMMAND = [sys.executable, "-m", "workers.engine.export"]

#: A proxy that refuses connections at once, so that no test depends on the network.
NOWHERE = "http://127.0.0.1:9"


def environment(folder: Path, weights: str = "random", **others: str) -> dict[str, str]:
    """The environment of `python -m workers.engine.export`, without a network."""
    return {
        "MODEL": "squeezenet1_1",
        "MODEL_WEIGHTS": weights,
        "DATA_DIR": str(folder),
        "TORCH_HOME": str(folder / "torch"),
        "https_proxy": NOWHERE,
        **others,
    }


@pytest.mark.parametrize("model", ["shufflenet_v2_x0_5", "regnet_y_400mf", "mnasnet0_5"])
def test_any_classification_model_can_be_exported(tmp_path: Path, model: str) -> None:
    path = export(settings(tmp_path, model=model))
    assert re.fullmatch(rf"{model}-random-[0-9a-f]{{12}}-p2\.onnx", path.name)
    assert load_engine(settings(tmp_path, model=model)).model.labels[0] == "tench"


def test_two_processes_that_start_at_once_make_one_export(tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            COMMAND,
            cwd=ROOT,
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    output = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], output
    (path,) = (tmp_path / "models").glob("*.onnx")
    # torch may warn on stderr about a machine, for example about one without /sys.
    assert [printed for printed, _ in output] == 2 * [f"{path}\n"]


def test_an_export_that_is_killed_leaves_no_usable_file(tmp_path: Path) -> None:
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, signal; from workers.engine.export import main\n"
            "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\nmain()",
        ],
        cwd=ROOT,
        env=environment(tmp_path),
        check=False,
    )
    assert killed.returncode == -9
    assert any((tmp_path / "models").iterdir())
    assert find_export(settings(tmp_path)) is None
    path = export(settings(tmp_path))
    assert [each.name for each in path.parent.iterdir() if each.name != ".lock"] == [path.name]


def test_an_existing_export_is_used_without_torch(tmp_path: Path) -> None:
    first = export(settings(tmp_path))
    written = first.stat().st_mtime_ns
    program = (
        "import sys; from shared.settings import Settings\n"
        "from workers.engine.export import export\n"
        "print(export(Settings())); sys.exit('torch' in sys.modules)"
    )
    again = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert again.stdout == f"{first}\n"
    assert first.stat().st_mtime_ns == written


def test_random_weights_are_always_the_same(tmp_path: Path) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, other = (load(settings(tmp_path))[1] for _ in range(2))
    assert one == other
    assert torch.equal(torch.get_rng_state(), before)


def test_if_weights_cannot_be_downloaded_the_error_names_remedies(tmp_path: Path) -> None:
    refused = subprocess.run(
        COMMAND,
        cwd=ROOT,
        env=environment(tmp_path, "DEFAULT"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    words = [f"MODEL_WEIGHTS={each}" for each in ("<file>", "demonstration")]
    for remedy in ("Connect this machine to the network", *words):
        assert remedy in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list((tmp_path / "models").glob("*.onnx"))


@pytest.mark.parametrize(("suffix", "save"), [(".pth", save_pth), (".safetensors", save_file)])
def test_a_weights_file_is_exported_and_found_by_its_digest(
    tmp_path: Path, suffix: str, save: Callable[[dict[str, torch.Tensor], Path], None]
) -> None:
    file = tmp_path / f"mine{suffix}"
    save(state_of("squeezenet1_1"), file)
    asked = settings(tmp_path, str(file))
    assert find_export(asked) is None
    assert export(asked) == find_export(asked)
    assert load_engine(asked).model.weights == f"mine{suffix}"
    save(state_of("squeezenet1_1", classes=3), file)
    assert find_export(asked) is None


def test_weights_with_other_classes_than_torchvision_need_labels(tmp_path: Path) -> None:
    file, labels = tmp_path / "three.pth", tmp_path / "labels.txt"
    save_pth(state_of("squeezenet1_1", classes=3), file)
    with pytest.raises(ModelError, match="3 classes.*MODEL_LABELS"):
        export(settings(tmp_path, str(file)))
    labels.write_text("cat\ndog\n", encoding="utf-8")
    with pytest.raises(ModelError, match="2 labels, but squeezenet1_1 has 3 classes"):
        export(settings(tmp_path, str(file), model_labels=labels))
    labels.write_text("cat\ndog\nfox\n", encoding="utf-8")
    export(settings(tmp_path, str(file), model_labels=labels))
    # The export contains the labels, so a worker does not need the file.
    with_file = load_engine(settings(tmp_path, str(file), model_labels=labels)).model
    assert load_engine(settings(tmp_path, str(file))).model == with_file
    assert with_file.labels == ("cat", "dog", "fox")


def test_for_an_unknown_model_the_error_names_similar_ones(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Did you mean .*resnet50"):
        export(settings(tmp_path, model="resnet-50"))
    with pytest.raises(ModelError, match="Use one of alexnet, "):
        export(settings(tmp_path, model="gpt"))
    own = settings(tmp_path, model="pet")
    package = own.models_dir / "packages" / "pets"
    package.mkdir(parents=True)
    (package / "model.json").touch()
    with pytest.raises(ModelError, match="not a classification model .*/packages are pets.$"):
        export(own)


@pytest.mark.parametrize(
    "model", ["fasterrcnn_resnet50_fpn", "fcn_resnet50", "quantized_resnet50", "r3d_18"]
)
def test_a_model_that_does_not_classify_pictures_is_refused(tmp_path: Path, model: str) -> None:
    with pytest.raises(ModelError, match="does not classify pictures"):
        export(settings(tmp_path, model=model))


def test_for_a_model_too_large_for_an_onnx_file_the_error_names_the_other_engine(
    tmp_path: Path,
) -> None:
    from workers.engine import onnx_export

    classifier, model = load(settings(tmp_path))
    # An uninitialised tensor takes address space, but no memory.
    classifier.extra = torch.nn.Buffer(torch.empty(2**31, dtype=torch.uint8))
    with pytest.raises(ModelError, match="ENGINE=torch-cpu"):
        onnx_export._trace(classifier, model, tmp_path / "never.onnx")
