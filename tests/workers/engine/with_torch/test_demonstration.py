"""The demonstration model describes itself correctly, and is right as often as it says."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from client.cli.demo import sample_pictures
from shared.errors import ModelError
from shared.settings import Settings
from training import shipped_file
from training.pictures import Labelled
from workers.decode.preprocessing import decode
from workers.engine import Engine, find_export, load_engine
from workers.engine.export import export
from workers.engine.export_file import DEMONSTRATION
from workers.engine.weights.weights_file import read_description

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[4]
PAGE = ROOT / "docs" / "demonstration-model.md"

#: The test pictures, if they are beside the checkout.
PICTURES = ROOT.parent / "shared" / "cifar10" / "cifar10-jpeg.tar.xz"


@pytest.fixture(scope="module")
def demonstration(model_environment: dict[str, str]) -> Settings:
    """The settings of the quick start, with the model exported."""
    settings = Settings(
        model=Settings.model_fields["model"].default,
        model_weights="demonstration",
        model_labels=None,
        engine="onnxruntime",
        models_dir=model_environment["MODELS_DIR"],
    )
    export(settings)
    return settings


def facts() -> dict[str, str]:
    with safe_open(DEMONSTRATION, framework="np") as file:
        metadata: dict[str, str] = file.metadata()
    return metadata


def accuracy() -> float:
    return float(facts()["accuracy"].partition(" ")[0])


def labelled(engine: Engine, pictures: list[bytes]) -> list[str]:
    preset = engine.model.preset
    pixels = np.stack([decode(each, preset, max_pixels=10**8) for each in pictures])
    return [engine.model.labels[best] for best in engine.predict(pixels).argmax(axis=1)]


def test_the_file_is_small_and_complete() -> None:
    assert DEMONSTRATION.stat().st_size <= 9_000_000
    assert facts()["digest"] == shipped_file.digest(load_file(DEMONSTRATION))
    assert facts()["accuracy"].endswith(" on 10000 test pictures")


def test_its_accuracy_is_at_least_86_percent() -> None:
    assert accuracy() >= 0.86


@pytest.mark.parametrize("name", ["onnxruntime", "torch-cpu"])
def test_both_engines_recognise_a_cat(demonstration: Settings, name: str) -> None:
    engine = load_engine(demonstration.model_copy(update={"engine": name}))
    assert labelled(engine, [sample_pictures()[0].read_bytes()]) == ["cat"]


def test_a_sample_of_the_test_pictures_confirms_its_accuracy(
    demonstration: Settings,
) -> None:
    if not PICTURES.exists():
        pytest.skip("the test pictures are not beside this checkout")
    pictures = sample(every=20)
    labels = labelled(load_engine(demonstration), [each.content for each in pictures])
    right = sum(label == each.label for label, each in zip(labels, pictures, strict=True))
    assert len(pictures) == 500
    # Four standard deviations of a sample of this size.
    assert right / len(pictures) == pytest.approx(accuracy(), abs=0.055)


def sample(every: int) -> list[Labelled]:
    """Some test pictures of all classes. They come first in the archive."""
    chosen = []
    with tarfile.open(PICTURES) as archive:
        files = (member for member in archive if member.name.endswith(".jpg"))
        for member in islice(files, 0, 10_000, every):
            file = archive.extractfile(member)
            assert file and member.name.startswith("test/")
            chosen.append(Labelled(Path(member.name).parts[-2], file.read()))
    return chosen


def test_its_name_and_notice_say_demonstration(demonstration: Settings) -> None:
    description = read_description(DEMONSTRATION)
    assert description and description.architecture.startswith("mobilenet_v3_")
    model = load_engine(demonstration).model
    name = description.architecture
    assert model.name == f"{name} (demonstration model)"
    assert model.version == f"{name}-demonstration-{model.weights_digest[:12]}-p2"
    assert (model.weights, len(model.labels)) == ("demonstration", 10)
    assert model.notice.startswith("demonstration model (10 classes); for ImageNet's 1,000 classes")


def test_its_export_is_used_without_torch(demonstration: Settings) -> None:
    path = find_export(demonstration)
    assert path and path.name.startswith("demonstration-")
    program = (
        "import sys; from shared.settings import Settings; from workers.engine import *\n"
        "print(find_export(Settings())); sys.exit('torch' in sys.modules)"
    )
    environment = {"MODEL_WEIGHTS": "demonstration", "MODELS_DIR": str(demonstration.models_dir)}
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert run.stdout == f"{path}\n"


def test_another_model_cannot_be_named_with_it(tmp_path: Path) -> None:
    settings = Settings(
        model="resnet50", model_weights="demonstration", model_labels=None, data_dir=tmp_path
    )
    with pytest.raises(ModelError, match="=demonstration is a mobilenet.*, not MODEL=resnet50"):
        export(settings)


def test_its_page_shows_the_facts_of_the_file() -> None:
    _, _, rest = PAGE.read_text().partition("by a test -->\n")
    table, _, _ = rest.partition("<!-- end of facts -->")
    assert table == facts_table(), f"the table should be:\n{facts_table()}"


def facts_table() -> str:
    described = read_description(DEMONSTRATION)
    assert described
    preset = described.preset
    numbers = sum(tensor.numel() for tensor in load_file(DEMONSTRATION).values())
    rows = {
        "Architecture": f"torchvision's `{described.architecture}`, {numbers:,} numbers",
        "Classes": ", ".join(described.labels),
        "Right": f"{accuracy():.2%} of the {int(facts()['accuracy'].split()[2]):,} test pictures",
        "Sees": f"a square of {preset.crop_size} pixels, enlarged to {described.enlarged_size}",
        "File": f"{DEMONSTRATION.stat().st_size:,} bytes",
        "SHA-256 of its numbers": f"`{facts()['digest']}`",
        "Provenance": facts()["provenance"],
    }
    return "".join(
        ["| | |\n|---|---|\n", *(f"| {name} | {value} |\n" for name, value in rows.items())]
    )
