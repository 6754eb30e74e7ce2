"""Which engine a CPU gets, and in which precision. The ability of the processor is simulated."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from shared.errors import ModelError
from shared.settings import Settings
from tests.workers.engine.tiny_export import MODEL, onnx_file, tiny_settings
from workers.engine import bf16_check, cpu, find_export, load_engine, openvino_engine
from workers.engine.bf16_check import Verdict, judged
from workers.engine.model import Model
from workers.engine.onnx_engine import MODEL_ENTRY
from workers.engine.openvino_engine import OpenvinoEngine

ROOT = Path(__file__).parents[3]

GOOD = Verdict(passed=True, largest_change=0.01, other_labels=0, speed=2.0)
BAD = Verdict(passed=False, largest_change=0.3, other_labels=4, speed=2.0)

#: Of the machine that runs the tests.
_COMPUTES_BF16 = openvino_engine.computes_bf16()


@pytest.fixture
def tiny(tmp_path: Path) -> Settings:
    return tiny_settings(tmp_path).model_copy(update={"engine": "auto", "precision": "auto"})


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Processor:
    return Processor(monkeypatch)


class Processor:
    """A processor with bf16 or without it, and what a comparison says of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.comparisons = 0
        self.bf16 = True
        self.verdict = GOOD
        self._loaded = OpenvinoEngine.load
        monkeypatch.setattr(openvino_engine, "computes_bf16", lambda: self.bf16)
        monkeypatch.setattr(OpenvinoEngine, "load", self._load)
        monkeypatch.setattr(bf16_check, "judged", self._judged)

    def _load(self, *arguments: Any, precision: Any, **options: Any) -> OpenvinoEngine:
        """Compile for the processor of the test's machine, and say that it is bf16."""
        engine = self._loaded(*arguments, precision="fp32", **options)
        engine.precision = precision
        return engine

    def _judged(self, *_: Any, **__: Any) -> Verdict:
        self.comparisons += 1
        return self.verdict


def chosen(settings: Settings, **changes: str) -> tuple[str, str]:
    engine = load_engine(settings.model_copy(update=changes))
    return engine.name, engine.precision


def test_a_processor_with_bf16_gets_openvino(tiny: Settings, processor: Processor) -> None:
    assert chosen(tiny) == ("openvino", "bf16")
    assert chosen(tiny, precision="bf16") == ("openvino", "bf16")
    assert chosen(tiny, engine="openvino") == ("openvino", "bf16")
    assert chosen(tiny, engine="openvino", precision="fp32") == ("openvino", "fp32")


def test_a_processor_without_bf16_keeps_onnx_runtime_and_the_version(
    tiny: Settings, processor: Processor
) -> None:
    processor.bf16 = False
    assert chosen(tiny) == ("onnxruntime", "fp32")
    assert load_engine(tiny).model.version == MODEL.version
    assert chosen(tiny, engine="openvino") == ("openvino", "fp32")
    for engine in ("auto", "openvino"):
        with pytest.raises(ModelError, match="PRECISION=bf16 needs a processor"):
            chosen(tiny, engine=engine, precision="bf16")
    assert not processor.comparisons


@pytest.mark.parametrize("name", ["auto", "onnxruntime"])
def test_fp32_is_onnx_runtime_on_every_processor(tiny: Settings, name: str) -> None:
    """So a fleet of unlike machines with PRECISION=fp32 has one model version."""
    program = (
        "import sys; from shared.settings import Settings; from workers.engine import cpu\n"
        f"settings = Settings(engine='{name}', precision='fp32')\n"
        "import pathlib; engine = cpu.load(settings, pathlib.Path(sys.argv[1]))\n"
        "print(engine.name, engine.precision, engine.model.version, 'openvino' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(find_export(tiny))]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["onnxruntime", "fp32", MODEL.version, "False"]


def test_results_of_bf16_have_a_version_of_their_own(tiny: Settings, tmp_path: Path) -> None:
    if not _COMPUTES_BF16:
        pytest.skip("this processor has no bf16")
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\n", encoding="utf-8")
    settings = tiny.model_copy(update={"precision": "bf16"})
    assert load_engine(settings).model.version == f"{MODEL.version}-bf16"
    own = load_engine(settings.model_copy(update={"model_labels": labels})).model.version
    assert own.startswith(f"{MODEL.version}-l") and own.endswith("-bf16")


def test_bf16_is_compared_once_for_an_export(tiny: Settings, processor: Processor) -> None:
    for _ in range(3):
        assert chosen(tiny) == ("openvino", "bf16")
    assert processor.comparisons == 1


def test_bf16_is_compared_again_on_another_processor(
    tiny: Settings, processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(tiny) == ("openvino", "bf16")
    monkeypatch.setattr(openvino_engine, "processor", lambda: "another one")
    processor.verdict = BAD
    assert chosen(tiny) == ("onnxruntime", "fp32")
    monkeypatch.undo()
    assert processor.comparisons == 2


@pytest.mark.parametrize("engine", ["auto", "openvino"])
def test_bf16_that_changes_results_is_not_used(
    tiny: Settings, processor: Processor, engine: str
) -> None:
    processor.verdict = BAD
    name = "onnxruntime" if engine == "auto" else "openvino"
    for _ in range(2):
        assert chosen(tiny, engine=engine) == (name, "fp32")
    assert processor.comparisons == 1
    assert chosen(tiny, precision="bf16") == ("openvino", "bf16")  # The operator wants it.


def test_a_folder_that_is_read_only_holds_no_verdict(
    tiny: Settings, processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(bf16_check, "_store", refuse)
    for _ in range(2):
        assert chosen(tiny) == ("openvino", "bf16")
    assert processor.comparisons == 2


def test_a_verdict_is_for_the_content_of_the_export_and_lies_in_models_dir(
    tiny: Settings, processor: Processor, tmp_path: Path
) -> None:
    path = find_export(tiny)
    assert path
    elsewhere = tmp_path / "package" / path.name
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(path.read_bytes())
    for _ in range(2):
        assert cpu.load(tiny, elsewhere).precision == "bf16"
    assert processor.comparisons == 1
    assert [each.name for each in elsewhere.parent.iterdir()] == [path.name]
    assert chosen(tiny) == ("openvino", "bf16")
    assert processor.comparisons == 1
    processor.verdict = BAD
    other = {MODEL_ENTRY: TypeAdapter(Model).dump_json(replace(MODEL, notice="another")).decode()}
    elsewhere.write_bytes(onnx_file(other))
    assert cpu.load(tiny, elsewhere).precision == "fp32"
    assert processor.comparisons == 2


def test_a_damaged_verdict_is_made_again(tiny: Settings, processor: Processor) -> None:
    assert chosen(tiny) == ("openvino", "bf16")
    [file] = tiny.models_dir.glob("*.json")  # type: ignore[union-attr]
    file.write_text("{")
    assert chosen(tiny) == ("openvino", "bf16")
    assert processor.comparisons == 2


def rows(*best: float) -> np.ndarray[Any, Any]:
    """A row of probabilities for each number, which is that of the first of two classes."""
    return np.array([[each, 1 - each] for each in best], np.float32)


@pytest.mark.parametrize(
    ("expected", "actual", "speed", "passed"),
    [
        (rows(0.9, 0.2), rows(0.89, 0.21), 2.0, True),
        (rows(0.9, 0.2), rows(0.84, 0.2), 2.0, False),  # It moves by more than 0.05.
        (rows(0.51), rows(0.49), 2.0, True),  # It was not clear.
        (np.array([[0.030, 0.010, 0.96]]), np.array([[0.030, 0.010, 0.96]]), 2.0, True),
        (np.array([[0.03, 0.01]]), np.array([[0.01, 0.03]]), 2.0, False),  # It was clear, by half.
        (rows(0.9), rows(0.9), 0.9, False),  # It is slower than today.
        (rows(0.9), rows(float("nan")), 2.0, False),
    ],
)
def test_a_verdict_has_bounds(
    expected: np.ndarray[Any, Any], actual: np.ndarray[Any, Any], speed: float, passed: bool
) -> None:
    assert judged(expected, actual, speed=speed).passed == passed


def test_a_model_of_one_class_has_a_verdict() -> None:
    assert judged(np.ones((2, 1)), np.ones((2, 1)), speed=2.0).passed


def test_generated_pictures_never_change() -> None:
    pictures = bf16_check.generated(32)
    assert (pictures.dtype, pictures.shape) == (np.uint8, (32, 32, 32, 3))
    assert np.array_equal(pictures, bf16_check.generated(32))
    assert len(np.unique(pictures.reshape(32, -1), axis=0)) == 32


#: A Python without OpenVINO, as where no wheel fits.
_WITHOUT = """
import sys; sys.modules["openvino"] = None
import logging; logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
import pathlib; from shared.errors import ModelError; from shared.settings import Settings
from workers.engine import cpu
settings = Settings(engine=sys.argv[2], precision=sys.argv[3])
try: print(cpu.load(settings, pathlib.Path(sys.argv[1])).name)
except ModelError as error: print(error)
"""


def without_openvino(settings: Settings, engine: str, precision: str) -> str:
    command = [sys.executable, "-c", _WITHOUT, str(find_export(settings)), engine, precision]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return run.stdout


def test_without_openvino_the_engine_is_onnx_runtime_and_the_log_says_so(tiny: Settings) -> None:
    said, name = without_openvino(tiny, "auto", "auto").splitlines()
    assert name == "onnxruntime"
    assert said.startswith("OpenVINO cannot be used, so the engine is ONNX Runtime")


@pytest.mark.parametrize(("engine", "precision"), [("openvino", "auto"), ("auto", "bf16")])
def test_without_openvino_the_error_says_what_to_install(
    tiny: Settings, engine: str, precision: str
) -> None:
    assert "`make openvino`" in without_openvino(tiny, engine, precision)


def test_an_export_that_openvino_cannot_read_leaves_onnx_runtime(
    tiny: Settings,
    processor: Processor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_: object, **__: object) -> OpenvinoEngine:
        raise ModelError("no such operation")

    monkeypatch.setattr(OpenvinoEngine, "load", refuse)
    with caplog.at_level(logging.WARNING):
        assert chosen(tiny) == ("onnxruntime", "fp32")
    assert "no such operation" in caplog.text
    with pytest.raises(ModelError, match="no such operation"):
        chosen(tiny, engine="openvino")


@pytest.mark.parametrize(
    ("flags", "unused"),
    [("fpu avx2 avx512_bf16 sha", True), ("fpu amx_bf16", True), ("fpu avx2 avx512f", False)],
)
def test_a_processor_whose_bf16_is_not_used_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, unused: bool
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t:\n")
    monkeypatch.setattr(cpu, "_CPUINFO", file)
    monkeypatch.setattr(cpu, "find_spec", lambda _: None)
    settings = Settings(engine="auto", precision="auto")
    assert cpu.unused_bf16(settings) == unused
    for other in ({"engine": "onnxruntime"}, {"precision": "fp32"}):
        assert not cpu.unused_bf16(settings.model_copy(update=other))
    file.unlink()
    assert not cpu.unused_bf16(settings)
    monkeypatch.setattr(cpu, "find_spec", lambda name: name)
    assert not cpu.unused_bf16(settings)
