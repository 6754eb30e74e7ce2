"""The export: made once, checked, whole or not there; and every way it can be refused."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from shared.errors import ModelError
from shared.settings import Settings
from workers.engine import find_export, load_engine
from workers.engine.torchvision_model import load, torchvision
from workers.engine.export import export

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "workers.engine.export"]

#: A network path that refuses at once, so that no test depends on the network.
NOWHERE = "http://127.0.0.1:9"


def settings(folder: Path, weights: str = "random", **others: object) -> Settings:
    fields: dict[str, object] = {"model": "squeezenet1_1", "model_labels": None}
    fields |= {"engine": "onnxruntime", "data_dir": folder, "model_weights": weights}
    return Settings(**(fields | others))


def environment(folder: Path, weights: str = "random", **others: str) -> dict[str, str]:
    """What `python -m workers.engine.export` reads, and no way out to the network."""
    return {
        "MODEL": "squeezenet1_1",
        "MODEL_WEIGHTS": weights,
        "DATA_DIR": str(folder),
        "TORCH_HOME": str(folder / "torch"),
        "https_proxy": NOWHERE,
        **others,
    }


def state_of(model: str, classes: int = 1000) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    state: dict[str, torch.Tensor] = torchvision.models.get_model(
        model, num_classes=classes
    ).state_dict()
    return state


def save_pth(state: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(state, path)


@pytest.mark.parametrize("model", ["shufflenet_v2_x0_5", "regnet_y_400mf", "mnasnet0_5"])
def test_any_classification_model_can_be_exported(tmp_path: Path, model: str) -> None:
    path = export(settings(tmp_path, model=model))
    assert re.fullmatch(rf"{model}-random-[0-9a-f]{{12}}-p1\.onnx", path.name)
    assert load_engine(settings(tmp_path, model=model)).model.labels[0] == "tench"


def test_two_that_start_at_once_make_one_export(tmp_path: Path) -> None:
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
    told = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0]
    (path,) = (tmp_path / "models").glob("*.onnx*")
    assert told == 2 * [(f"{path}\n", "")]


def test_an_export_killed_before_it_is_done_leaves_nothing_to_use(tmp_path: Path) -> None:
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


def test_a_second_export_finds_the_first_and_does_not_need_torch(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("call", ["workers.engine.export.export", "workers.engine.load_engine"])
def test_where_torch_is_not_installed_the_error_says_what_to_install(
    tmp_path: Path, call: str
) -> None:
    module, _, function = call.rpartition(".")
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from shared.errors import ModelError; from shared.settings import Settings\n"
        f"from {module} import {function}\n"
        f"try: {function}(Settings(engine='torch'))\n"
        "except ModelError as error: print(error)"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "needs torch, see requirements/export.txt" in told.stdout


def test_random_weights_are_the_same_everywhere(tmp_path: Path) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, other = (load(settings(tmp_path))[1] for _ in range(2))
    assert one == other
    assert torch.equal(torch.get_rng_state(), before)


def test_of_downloaded_weights_the_newest_export_counts(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for age, name in enumerate(("squeezenet1_1-default-b", "squeezenet1_1-default-a")):
        path = models / f"{name}-p1.onnx"
        path.touch()
        os.utime(path, (time.time() - age, time.time() - age))
    for other in (
        ".squeezenet1_1-default-c-p1.onnx.partial",
        "squeezenet1_1-default-c-p0.onnx",
        "squeezenet1_1-random-c-p1.onnx",
        "squeezenet1_0-default-c-p1.onnx",
    ):
        (models / other).touch()
    assert find_export(settings(tmp_path, "DEFAULT")) == models / "squeezenet1_1-default-b-p1.onnx"


def test_weights_that_cannot_be_fetched_name_remedies_quickly(tmp_path: Path) -> None:
    started = time.monotonic()
    refused = subprocess.run(
        COMMAND,
        cwd=ROOT,
        env=environment(tmp_path, "DEFAULT"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert time.monotonic() - started < 30
    words = [f"MODEL_WEIGHTS={each}" for each in ("<file>", "demonstration", "random")]
    for remedy in ("reach the network once", *words):
        assert remedy in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list((tmp_path / "models").glob("*.onnx*"))


def test_weights_fetched_before_need_no_network(tmp_path: Path) -> None:
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    published = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url.rpartition("/")[2]
    save_pth(state_of("squeezenet1_1"), cache / published)
    subprocess.run(COMMAND, cwd=ROOT, env=environment(tmp_path, "DEFAULT"), check=True)
    model = load_engine(settings(tmp_path, "DEFAULT")).model
    assert (model.name, model.weights) == ("squeezenet1_1", "DEFAULT")


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


def test_other_classes_than_torchvisions_need_labels(tmp_path: Path) -> None:
    file, labels = tmp_path / "three.pth", tmp_path / "labels.txt"
    save_pth(state_of("squeezenet1_1", classes=3), file)
    with pytest.raises(ModelError, match="3 classes.*MODEL_LABELS"):
        export(settings(tmp_path, str(file)))
    labels.write_text("cat\ndog\n", encoding="utf-8")
    with pytest.raises(ModelError, match="2 labels, but squeezenet1_1 has 3 classes"):
        export(settings(tmp_path, str(file), model_labels=labels))
    labels.write_text("cat\ndog\nfox\n", encoding="utf-8")
    export(settings(tmp_path, str(file), model_labels=labels))
    # The export carries them: a worker needs nothing besides it.
    with_file = load_engine(settings(tmp_path, str(file), model_labels=labels)).model
    assert load_engine(settings(tmp_path, str(file))).model == with_file
    assert with_file.labels == ("cat", "dog", "fox")


def test_weights_published_under_older_names_load(tmp_path: Path) -> None:
    """torchvision's DenseNet files say `norm.1` where its DenseNet says `norm1`."""
    older = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): tensor
        for name, tensor in state_of("densenet121").items()
    }
    save_pth(older, tmp_path / "densenet.pth")
    load(settings(tmp_path, str(tmp_path / "densenet.pth"), model="densenet121"))


@pytest.mark.parametrize("auxiliary", [True, False])
def test_googlenet_loads_with_and_without_its_training_heads(
    tmp_path: Path, auxiliary: bool
) -> None:
    network = torchvision.models.googlenet(aux_logits=auxiliary, init_weights=False)
    save_pth(network.state_dict(), tmp_path / "googlenet.pth")
    _, model = load(settings(tmp_path, str(tmp_path / "googlenet.pth"), model="googlenet"))
    assert len(model.labels) == 1000


class _Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("code-was-run",))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read as weights"),
        (b"not weights at all", "cannot be read as weights"),
        (pickle.dumps(_Bomb(), protocol=2), "cannot be read as weights"),
        (pickle.dumps({"model": {"epoch": 3}}, protocol=2), "cannot be read as weights"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_holds_no_weights_is_a_model_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str, suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / f"file{suffix}"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        load(settings(tmp_path, str(file)))
    assert not (tmp_path / "code-was-run").exists()


def test_a_checkpoint_with_more_than_weights_is_a_model_error(tmp_path: Path) -> None:
    torch.save({"model": state_of("squeezenet1_1"), "epoch": 3}, tmp_path / "checkpoint.pth")
    with pytest.raises(ModelError, match="no plain state dict"):
        load(settings(tmp_path, str(tmp_path / "checkpoint.pth")))


@pytest.mark.parametrize("model", ["resnet18", "squeezenet1_0"])
def test_weights_of_another_model_are_a_model_error(tmp_path: Path, model: str) -> None:
    save_pth(state_of("squeezenet1_1"), tmp_path / "squeezenet.pth")
    with pytest.raises(ModelError, match=f"do not fit MODEL={model}"):
        load(settings(tmp_path, str(tmp_path / "squeezenet.pth"), model=model))


def test_a_missing_weights_file_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="missing.pth is neither DEFAULT .* nor a file"):
        export(settings(tmp_path, str(tmp_path / "missing.pth")))


def test_a_model_that_does_not_exist_names_those_like_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Did you mean .*resnet50"):
        export(settings(tmp_path, model="resnet-50"))
    with pytest.raises(ModelError, match="Use one of alexnet, "):
        export(settings(tmp_path, model="gpt"))


@pytest.mark.parametrize(
    "model", ["fasterrcnn_resnet50_fpn", "fcn_resnet50", "quantized_resnet50", "r3d_18"]
)
def test_a_model_that_does_not_classify_pictures_is_refused(tmp_path: Path, model: str) -> None:
    with pytest.raises(ModelError, match="does not classify pictures"):
        export(settings(tmp_path, model=model))


def test_a_model_too_large_for_an_onnx_file_says_what_runs_it(tmp_path: Path) -> None:
    from workers.engine import onnx_export

    classifier, model = load(settings(tmp_path))
    # An uninitialised tensor takes addresses, not memory.
    classifier.extra = torch.nn.Buffer(torch.empty(2**31, dtype=torch.uint8))
    with pytest.raises(ModelError, match="ENGINE=torch"):
        onnx_export._trace(classifier, model, tmp_path / "never.onnx")
