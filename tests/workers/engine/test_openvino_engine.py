"""The OpenVINO engine, with an export that needs no torch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import ModelError
from shared.jobs import Lane
from shared.settings import Settings
from tests.workers.engine.tiny_export import MODEL, onnx_file, tiny_settings
from workers.engine import find_export, load_engine, openvino_engine

ROOT = Path(__file__).parents[3]


@pytest.fixture
def tiny(tmp_path: Path) -> Settings:
    return tiny_settings(tmp_path).model_copy(update={"engine": "openvino", "precision": "fp32"})


def noise(pictures: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (pictures, 32, 32, 3), np.uint8)


def test_a_picture_gets_one_row_of_probabilities(tiny: Settings) -> None:
    engine = load_engine(tiny)
    colours = 255 * np.eye(3, dtype=np.uint8)[:, None, None].repeat(32, 1).repeat(32, 2)
    probabilities = engine.predict(colours)
    assert (engine.name, engine.precision) == ("openvino", "fp32")
    assert engine.model == MODEL
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (3, 3))
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert probabilities.argmax(axis=1).tolist() == [0, 1, 2]


@pytest.mark.parametrize("pictures", [1, 2, 3, 4, 5, 6, 7, 8, 9, 32])
def test_a_picture_gets_the_same_probabilities_as_in_onnx_runtime(
    tiny: Settings, pictures: int
) -> None:
    batch = noise(pictures)
    expected = load_engine(tiny.model_copy(update={"engine": "onnxruntime"})).predict(batch)
    engine = load_engine(tiny)
    # A batch that is not full is padded with what the last one left.
    for _ in range(2):
        assert np.abs(engine.predict(batch) - expected).max() < 1e-6
    assert np.abs(engine.predict(batch[::-1])[::-1] - expected).max() < 1e-6


def test_a_process_that_drops_an_engine_survives_the_limits_on_decoding(tiny: Settings) -> None:
    program = f"""
import gc, sys
from pathlib import Path
from typing import Any
from tests.pipeline.hostile.hostile_pictures import jpeg_of_many_passes
from workers.decode.decoder import Decoder
from workers.decode.limits import DecodeLimits
from workers.engine.openvino_engine import OpenvinoEngine

engine = OpenvinoEngine.load(Path({str(find_export(tiny))!r}), precision="fp32", cores=2)
limits = DecodeLimits(pixels=50_000_000, cpu_seconds=0.5, memory_bytes=400 * 2**20)
decoder = Decoder(engine.model.preset, limits)
del engine
gc.collect()
print(type(decoder.decode(jpeg_of_many_passes(5_000)).pixels).__name__)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stdout) == (0, "DecodeTimeout\n"), run.stderr


def test_several_threads_give_the_same_probabilities(tiny: Settings) -> None:
    engine = load_engine(tiny.model_copy(update={"worker_processes": 2}))
    picture = noise(1)
    assert np.abs(engine.predict(picture, alone=True) - engine.predict(picture)).max() < 1e-6


def test_labels_from_a_file_change_the_version(tiny: Settings, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("a\nb\nc\n", encoding="utf-8")
    model = load_engine(tiny.model_copy(update={"model_labels": file})).model
    assert model.labels == ("a", "b", "c")
    assert model.version.startswith(f"{MODEL.version}-l")


@pytest.mark.parametrize("content", [b"", onnx_file({})], ids=["empty", "without our metadata"])
def test_a_damaged_export_is_a_model_error_that_names_the_file(
    tiny: Settings, content: bytes
) -> None:
    path = find_export(tiny)
    assert path
    path.write_bytes(content)
    with pytest.raises(ModelError, match=str(path)):
        load_engine(tiny)


def test_each_of_several_forked_processes_computes(tiny: Settings) -> None:
    """The main process of a worker forks pool processes, and forks again when one was killed."""
    context = multiprocessing.get_context("fork")
    expected = load_engine(tiny.model_copy(update={"engine": "onnxruntime"})).predict(noise(9))
    for _ in range(2):
        answers = []
        for _ in range(2):
            here, there = context.Pipe()
            process = context.Process(target=_answer, args=(tiny, there))
            process.start()
            answers.append((process, here))
        for process, here in answers:
            assert here.poll(60), "a forked process does not answer"
            assert np.abs(here.recv() - expected).max() < 1e-6
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()


def _answer(settings: Settings, connection: Connection) -> None:
    connection.send(load_engine(settings).predict(noise(9)))
    signal.pause()


#: Loads the engine and computes. Any use of the network, also by a library in C that calls Python,
#: ends the program.
_SILENT = """
import sys
def refuse(event, arguments):
    if event.startswith(("socket.", "http.", "urllib.")): raise SystemExit(f"{event} {arguments}")
sys.addaudithook(refuse)
import numpy, pathlib
from workers.engine.openvino_engine import OpenvinoEngine
engine = OpenvinoEngine.load(pathlib.Path(sys.argv[1]), precision="fp32")
engine.predict(numpy.zeros((1, 32, 32, 3), numpy.uint8))
files = [str(each.resolve()) for each in pathlib.Path("/proc/self/fd").iterdir()]
sockets = [name for name in files if "socket" in name]
telemetry = [name for name in sys.modules if "telemetry" in name]
assert not sockets and not telemetry, (sockets, telemetry)
"""


def test_openvino_sends_and_stores_no_telemetry(tiny: Settings, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    # Under continuous integration it would send none anyway.
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", _SILENT, str(find_export(tiny))]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert not list(home.iterdir())


def test_a_bulk_worker_compiles_only_what_it_uses(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[tuple[int, int]] = []
    compile_network = openvino_engine._compiled

    def compile_and_note(network: Any, pictures: int, precision: Any, threads: int = 1) -> Any:
        compiled.append((pictures, threads))
        return compile_network(network, pictures, precision, threads)

    monkeypatch.setattr(openvino_engine, "_compiled", compile_and_note)
    two = tiny.model_copy(update={"worker_processes": 2})
    load_engine(two)
    assert compiled == [(8, 1), (4, 1), (1, 1), (1, 2)]
    compiled.clear()
    engine = load_engine(two.model_copy(update={"lane": Lane.BULK}))
    engine.predict(noise(16))
    assert compiled == [(8, 1)]
    engine.predict(noise(9))
    engine.predict(noise(1))
    assert compiled == [(8, 1), (1, 1)]
