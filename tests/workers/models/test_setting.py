"""`python -m workers.models set`: thresholds and temperature of a package."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, softmax

from shared.errors import ModelError
from shared.settings import Settings
from tests.workers.models.onnx_models import LABELS, SIDE, write_model
from workers.engine import Engine, load_engine
from workers.engine.package import read_package
from workers.models.__main__ import main

GUIDE = Path(__file__).parents[3] / "docs/model-packages.md"
PACKAGE = Path("data/models/packages/pets")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages that the tests have made, by what they are made of."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture(autouse=True)
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made").symlink_to(made)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))


def add(activation: str = "softmax", **file: Any) -> None:
    """Make the package, or copy one that an earlier test has made."""
    made = Path("made", f"{activation} {file}")
    if not made.exists():
        write_model(Path("pets.onnx"), **file)
        command = ["add", "pets", "pets.onnx", "--labels", "labels.txt", "--preset", "imagenet"]
        assert main([*command, "--activation", activation, "--replace"]) == 0
        shutil.copytree(PACKAGE, made)
    shutil.copytree(made, PACKAGE, dirs_exist_ok=True)


def set_(*options: str) -> None:
    assert main(["set", "pets", *options]) == 0


def engine(name: str = "onnxruntime") -> Engine:
    return load_engine(Settings(model="pets", engine=name, precision="fp32"))


def scores(loaded: Engine) -> NDArray[np.float32]:
    pixels = np.random.default_rng(1).integers(0, 256, (9, SIDE, SIDE, 3), np.uint8)
    return loaded.predict(pixels)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    "activation, file",
    [
        ("softmax", {}),
        ("softmax", {"end": "Softmax"}),
        ("softmax", {"kind": "float16", "end": "Softmax"}),
        ("sigmoid", {"keeps_dims": True, "end": "Sigmoid"}),
        ("sigmoid", {"batch": 1}),
    ],
)
def test_the_logits_are_divided_by_the_temperature(
    activation: str, file: dict[str, Any], name: str
) -> None:
    if name == "openvino":
        pytest.importorskip("openvino")
    add("none", **{key: value for key, value in file.items() if key != "end"})
    logits = scores(engine())
    add(activation, **file)
    before = engine(name)
    assert 0.05 < scores(before).std() < 0.9, "the scores are not trivial"

    def assert_scores_of(temperature: float) -> None:
        scaled = logits / temperature
        expected = softmax(scaled, axis=1) if activation == "softmax" else expit(scaled)
        # Logits of float16 are rounded.
        tolerance = 5e-3 if file.get("kind") == "float16" else 2e-5
        assert np.abs(scores(engine(name)) - expected).max() < tolerance
        assert engine(name).model.temperature == temperature

    assert_scores_of(1)
    for temperature in (8, 0.5):  # the second one replaces the first
        set_("--temperature", str(temperature))
        assert_scores_of(temperature)
        assert engine(name).model.version != before.model.version
    set_("--temperature", "1")
    assert_scores_of(1)
    assert engine(name).model.version == before.model.version


def test_a_temperature_needs_logits(capsys: Any) -> None:
    add("none")
    before = PACKAGE.joinpath("model.json").read_text()
    assert main(["set", "pets", "--temperature", "2"]) == 2
    assert "scores are made by softmax or sigmoid" in capsys.readouterr().err
    assert PACKAGE.joinpath("model.json").read_text() == before
    assert [each.name for each in PACKAGE.parent.iterdir()] == ["pets"]


def test_a_temperature_in_the_description_alone_is_noticed() -> None:
    add()
    path = PACKAGE / "model.json"
    path.write_text(path.read_text().replace('"temperature": 1.0', '"temperature": 2.0'))
    with pytest.raises(ModelError, match="workers.models set"):
        engine()


def test_thresholds_reach_the_engine_and_its_version(capsys: Any) -> None:
    add()
    plain = engine().model
    assert (plain.thresholds, plain.several) == ((), False)
    Path("thresholds.csv").write_text("label,threshold\nblue,0.75\nred,0.25\n")
    set_("--thresholds", "thresholds.csv")
    assert "thresholds 2 labels from 0, 1 labels from 0.25, 1 labels from 0.75" in (
        capsys.readouterr().out
    )
    some = engine().model
    assert some.thresholds == (0.25, 0, 0.75, 0)
    set_("--threshold", "0.5")
    others = engine().model
    assert others.thresholds == (0.25, 0.5, 0.75, 0.5)
    assert len({plain.version, some.version, others.version}) == 3
    assert read_package(PACKAGE).format == 2
    set_("--temperature", "2")
    assert engine().model.thresholds == others.thresholds
    set_("--temperature", "1", "--threshold", "none", "--thresholds", "none")
    assert engine().model == plain
    assert read_package(PACKAGE).format == 1


def test_several_labels_need_a_half_unless_the_package_says_otherwise() -> None:
    add("sigmoid")
    model = engine().model
    assert model.several and model.thresholds == (0.5,) * 4
    Path("thresholds.json").write_text('{"blue": 0.1}')
    set_("--thresholds", "thresholds.json")
    assert engine().model.thresholds == (0.5, 0.5, 0.1, 0.5)
    set_("--threshold", "0")
    every = engine().model
    assert every.several and every.thresholds == (0, 0, 0.1, 0)
    assert every.version != model.version


def test_a_package_of_the_first_format_works() -> None:
    """It has no entries for thresholds and temperature, and its file does not name them either."""
    add("sigmoid")
    path = PACKAGE / "model.json"
    version = engine().model.version
    description = json.loads(path.read_text())
    assert description["format"] == 1
    for name in ("temperature", "thresholds", "threshold"):
        del description[name]
    path.write_text(json.dumps(description))
    content = (PACKAGE / "model.onnx").read_bytes()
    assert b'"several":true' in content
    assert engine().model.version == version
    assert engine().model.thresholds == (0.5,) * 4


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": 3}, "format: a later release has made this package: it has format 3"),
        ({"thresholds": {"pink": 0.5}}, "there is a threshold of 'pink', which is no label"),
        ({"thresholds": {"red": 1.5}}, "thresholds.red: Input should be less than or equal to 1"),
        ({"threshold": -1}, "threshold: Input should be greater than or equal to 0"),
        ({"temperature": 0}, "temperature: Input should be greater than 0"),
        ({"golden": []}, "model.json has no golden pictures"),
        *(
            ({"golden": [{"file": file, "scores": {"0": 1}}]}, "is not the name of a file in the")
            for file in ("../golden-1.png", "/dev/zero", "..", "", "a/b.png")
        ),
        *(
            ({"golden": [{"file": "golden-1.png", "scores": scores}]}, "must have scores of some")
            for scores in ({}, {"4": 0.5}, {"-1": 0.5})
        ),
    ],
)
def test_a_description_that_is_impossible_is_refused(change: dict[str, Any], message: str) -> None:
    add()
    path = PACKAGE / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=re.escape(message)):
        engine()


@pytest.mark.parametrize(
    "options, message",
    [
        ([], "Give --temperature, --threshold or --thresholds"),
        (["--temperature", "0"], "temperature: Input should be greater than 0"),
        (["--temperature", "nan"], "temperature: Input should be"),
        (["--threshold", "2"], "threshold: Input should be less than or equal to 1"),
        (["--threshold", "high"], "threshold: Input should be a valid number"),
        (["--thresholds", "labels.txt"], "must be CSV with the columns label and threshold"),
        (["--thresholds", "list.json"], "must be CSV with the columns label and threshold"),
        (["--thresholds", "pink.csv"], "there is a threshold of 'pink', which is no label"),
        (["--thresholds", "nothing.csv"], "nothing.csv cannot be read"),
    ],
)
def test_a_wrong_value_gets_one_line_and_changes_nothing(
    options: list[str], message: str, capsys: Any
) -> None:
    add()
    Path("pink.csv").write_text("label;threshold\npink;0.5\n")
    Path("list.json").write_text("[0.5]")
    before = PACKAGE.joinpath("model.json").read_text()
    assert main(["set", "pets", *options]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert PACKAGE.joinpath("model.json").read_text() == before


def test_the_commands_of_the_guide() -> None:
    add()
    Path("thresholds.csv").write_text("label,threshold\nred,0.5\n")
    lines = re.findall(r"^\$ python -m workers.models (set .*)", GUIDE.read_text(), re.M)
    assert len(lines) == 2
    for line in lines:
        assert main(shlex.split(line)) == 0
        assert main(["check", "pets"]) == 0


def test_a_worker_announces_activation_and_thresholds() -> None:
    add()
    model = engine().model
    assert (model.activation, model.usual_threshold, model.other_thresholds) == (
        "softmax",
        None,
        {},
    )
    add("sigmoid")
    assert (engine().model.activation, engine().model.usual_threshold) == ("sigmoid", 0.5)
    Path("thresholds.json").write_text('{"green": 0.75}')
    set_("--threshold", "0.25", "--thresholds", "thresholds.json")
    model = engine().model
    assert (model.usual_threshold, model.other_thresholds) == (0.25, {"green": 0.75})
