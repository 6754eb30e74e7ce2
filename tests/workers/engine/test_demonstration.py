"""The demonstration model that ships: what it says of itself, and how often it is right."""

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
from workers.engine import Engine, find_export, load_engine
from workers.engine.export_file import DEMONSTRATION
from workers.engine.weights_file import read_description
from workers.engine.export import export
from workers.decode.preprocessing import decode

ROOT = Path(__file__).parents[3]
CARD = ROOT / "docs" / "demonstration-model.md"

#: The pictures that it was measured on, beside the checkout where they exist.
PICTURES = ROOT.parent / "shared" / "cifar10" / "cifar10-jpeg.tar.xz"


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """As the quick start asks for it, exported."""
    settings = Settings(
        model=Settings.model_fields["model"].default,
        model_weights="demonstration",
        model_labels=None,
        engine="onnxruntime",
        data_dir=tmp_path_factory.mktemp("demonstration"),
    )
    export(settings)
    return settings


def facts() -> dict[str, str]:
    with safe_open(DEMONSTRATION, framework="np") as file:
        found: dict[str, str] = file.metadata()
    return found


def accuracy() -> float:
    return float(facts()["accuracy"].partition(" ")[0])


def labelled(engine: Engine, pictures: list[bytes]) -> list[str]:
    preset = engine.model.preset
    pixels = np.stack([decode(each, preset, max_pixels=10**8) for each in pictures])
    return [engine.model.labels[best] for best in engine.predict(pixels).argmax(axis=1)]


def test_the_file_is_small_and_whole() -> None:
    assert DEMONSTRATION.stat().st_size <= 9_000_000
    assert facts()["digest"] == shipped_file.digest(load_file(DEMONSTRATION))
    assert facts()["accuracy"].endswith(" on 10000 test pictures")


def test_it_is_as_often_right_as_it_should_be() -> None:
    assert accuracy() >= 0.86


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_a_cat_is_a_cat_by_either_engine(demonstration: Settings, name: str) -> None:
    engine = load_engine(demonstration.model_copy(update={"engine": name}))
    assert labelled(engine, [sample_pictures()[0].read_bytes()]) == ["cat"]


def test_of_pictures_that_it_has_not_seen_it_knows_as_many_as_it_says(
    demonstration: Settings,
) -> None:
    if not PICTURES.exists():
        pytest.skip("the pictures that it was measured on are not beside this checkout")
    pictures = sample(every=20)
    found = labelled(load_engine(demonstration), [each.content for each in pictures])
    right = sum(one == each.label for one, each in zip(found, pictures, strict=True))
    assert len(pictures) == 500
    # Four standard deviations of a sample of this size.
    assert right / len(pictures) == pytest.approx(accuracy(), abs=0.055)


def sample(every: int) -> list[Labelled]:
    """Test pictures of all classes; they come first in the archive."""
    chosen = []
    with tarfile.open(PICTURES) as archive:
        files = (member for member in archive if member.name.endswith(".jpg"))
        for member in islice(files, 0, 10_000, every):
            file = archive.extractfile(member)
            assert file and member.name.startswith("test/")
            chosen.append(Labelled(Path(member.name).parts[-2], file.read()))
    return chosen


def test_it_says_what_it_is(demonstration: Settings) -> None:
    description = read_description(DEMONSTRATION)
    assert description and description.architecture.startswith("mobilenet_v3_")
    model = load_engine(demonstration).model
    name = description.architecture
    assert model.name == f"{name} (demonstration model)"
    assert model.version == f"{name}-demonstration-{model.weights_digest[:12]}-p1"
    assert (model.weights, len(model.labels)) == ("demonstration", 10)
    assert model.notice.startswith("demonstration model (10 classes); for ImageNet's 1,000 classes")


def test_its_export_is_found_without_torch(demonstration: Settings) -> None:
    path = find_export(demonstration)
    assert path and path.name.startswith("demonstration-")
    program = (
        "import sys; from shared.settings import Settings; from workers.engine import *\n"
        "print(find_export(Settings())); sys.exit('torch' in sys.modules)"
    )
    environment = {"MODEL_WEIGHTS": "demonstration", "DATA_DIR": str(demonstration.data_dir)}
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert found.stdout == f"{path}\n"


def test_it_is_no_other_model_than_it_is(tmp_path: Path) -> None:
    settings = Settings(
        model="resnet50", model_weights="demonstration", model_labels=None, data_dir=tmp_path
    )
    with pytest.raises(ModelError, match="=demonstration is a mobilenet.*, not MODEL=resnet50"):
        export(settings)


def test_its_card_says_what_the_file_says() -> None:
    _, _, rest = CARD.read_text().partition("by a test -->\n")
    told, _, _ = rest.partition("<!-- end of facts -->")
    assert told == facts_table(), f"the table should be:\n{facts_table()}"


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
