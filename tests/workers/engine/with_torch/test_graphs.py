"""The shipped graphs are what the exporter writes, and their exports answer as torch does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from client.cli.demo import sample_pictures
from shared.settings import Settings
from tests.workers.engine.state_dict import default_state, pth_bytes
from workers.decode.preprocessing import decode
from workers.engine import load_engine
from workers.engine.export import export
from workers.engine.export_file import DEMONSTRATION
from workers.engine.graph import write_graphs
from workers.engine.graph.graph import graph_file, weights_of
from workers.engine.torchvision_model import build, torchvision
from workers.engine.weights.pth_file import has_old_format, read_pth
from workers.engine.weights.weights_file import read_arrays, read_description

pytestmark = pytest.mark.torch

ARCHITECTURE = write_graphs.ARCHITECTURE


@pytest.mark.parametrize("enlarged_size", [None, 64])
def test_the_shipped_graphs_are_what_the_exporter_writes(enlarged_size: int | None) -> None:
    """If not, run `python -m workers.engine.graph.write_graphs`."""
    written = write_graphs.graph(enlarged_size)
    assert graph_file(ARCHITECTURE, enlarged_size).read_bytes() == written


def test_the_description_of_the_weights_is_that_of_torchvision() -> None:
    assert weights_of(ARCHITECTURE) == write_graphs.weights()


def test_the_default_model_and_the_demonstration_model_have_graphs() -> None:
    assert Settings.model_fields["model"].default == ARCHITECTURE
    description = read_description(DEMONSTRATION)
    assert description and graph_file(ARCHITECTURE, description.enlarged_size).exists()


@pytest.mark.parametrize("weights", ["real", "demonstration", "trained"])
def test_the_export_answers_as_torch_does(
    tmp_path: Path, weights: str, request: pytest.FixtureRequest
) -> None:
    photographs = sample_pictures()
    if weights == "real":
        weights = str(request.getfixturevalue("real_weights"))
        photographs = [*photographs, *request.getfixturevalue("pictures")]
    if weights == "trained":
        weights = str(tmp_path / "trained.pth")
        trained_network(tmp_path / "trained.pth")
    settings = Settings(
        model=ARCHITECTURE,
        model_weights=weights,
        model_labels=None,
        engine="onnxruntime",
        models_dir=tmp_path / "models",
    )
    export(settings)
    filled = load_engine(settings)
    by_torch = load_engine(settings.model_copy(update={"engine": "torch-cpu"}))
    assert filled.model == by_torch.model
    preset = filled.model.preset
    pixels = np.stack([decode(p.read_bytes(), preset, max_pixels=10**8) for p in photographs])
    scores, expected = filled.predict(pixels), by_torch.predict(pixels)
    assert np.array_equal(scores.argmax(axis=1), expected.argmax(axis=1))
    assert np.abs(scores - expected).max() <= 1e-3


def trained_network(path: Path) -> None:
    """Random weights, and statistics of batch normalisations that are different in each channel."""
    torch.manual_seed(3)
    preset = write_graphs.weights().description.preset
    network = build(ARCHITECTURE, preset, classes=1000)
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_var", "1.weight")) and tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5)
        elif name.endswith(("running_mean", "bias")):
            tensor.uniform_(-0.3, 0.3)
    torch.save(network.state_dict(), path)


KINDS = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64]


@pytest.mark.parametrize("kind", KINDS)
def test_the_reader_gives_what_torch_saved(tmp_path: Path, kind: torch.dtype) -> None:
    whole = torch.arange(60).reshape(3, 4, 5).to(kind)
    image = torch.arange(48).reshape(1, 4, 3, 4).to(kind)
    saved = {
        "whole": whole,
        "transposed": whole.transpose(0, 2),
        "part": whole[1:, 2],
        "for pictures": image.to(memory_format=torch.channels_last),
        "number": torch.tensor(3).to(kind),
        "empty": torch.zeros(0, 2, dtype=kind),
    }
    if kind.is_floating_point:
        saved["parameter"] = torch.nn.Parameter(whole)
    torch.save(saved, tmp_path / "saved.pth")
    arrays = read_pth(tmp_path / "saved.pth")
    assert arrays.keys() == saved.keys()
    for name, tensor in saved.items():
        expected = tensor.detach().float() if kind is torch.bfloat16 else tensor.detach()
        assert np.array_equal(arrays[name], expected.numpy())
        assert arrays[name].dtype == expected.numpy().dtype


def test_the_reader_gives_all_weights_of_a_network(tmp_path: Path) -> None:
    state = torchvision.models.mobilenet_v3_large().state_dict()
    torch.save(state, tmp_path / "saved.pth")
    arrays = read_pth(tmp_path / "saved.pth")
    assert list(arrays) == list(state)
    assert all(np.array_equal(arrays[name], state[name].numpy()) for name in state)


def test_torch_reads_the_files_that_the_tests_make(tmp_path: Path) -> None:
    state = default_state()
    (tmp_path / "made.pth").write_bytes(pth_bytes(state))
    loaded = torch.load(tmp_path / "made.pth", weights_only=True)
    assert list(loaded) == list(state)
    assert all(np.array_equal(loaded[name].numpy(), state[name]) for name in state)


def test_torchvision_publishes_the_format_that_the_reader_knows(tmp_path: Path) -> None:
    """The published size is in MiB with three digits. The older format is shorter by 40 kB."""
    network = torchvision.models.mobilenet_v3_large()
    meta = torchvision.models.MobileNet_V3_Large_Weights.DEFAULT.meta
    sizes = []
    for new in (True, False):
        # Without a file name, torch names the folder in the archive "archive".
        with (tmp_path / "saved.pth").open("wb") as file:
            torch.save(network.state_dict(), file, _use_new_zipfile_serialization=new)
        sizes.append(round((tmp_path / "saved.pth").stat().st_size / 2**20, 3))
        assert has_old_format(tmp_path / "saved.pth") is not new
    assert sizes[0] == meta["_file_size"] != sizes[1]


def test_a_file_in_the_old_format_is_exported_with_torch(tmp_path: Path) -> None:
    state = torchvision.models.mobilenet_v3_large().state_dict()
    path = tmp_path / "old.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    settings = Settings(
        model=ARCHITECTURE,
        model_weights=str(path),
        model_labels=None,
        engine="onnxruntime",
        models_dir=tmp_path / "models",
    )
    export(settings)
    assert load_engine(settings).model.weights == "old.pth"


def test_half_precision_of_the_demonstration_file_is_kept_exactly() -> None:
    arrays, expected = read_arrays(DEMONSTRATION), load_file(DEMONSTRATION)
    assert arrays.keys() == expected.keys()
    assert all(np.array_equal(arrays[name], expected[name].numpy()) for name in expected)
