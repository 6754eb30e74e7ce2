"""A CPU engine: OpenVINO on an export, one thread per pool process.

On processors with instructions for bf16 it computes in bf16, which doubles the speed. A network is
compiled for a fixed number of pictures, because it is then a fifth faster. Each takes 35 MB, and a
fifth of a second to compile.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from shared.errors import ModelError
from workers.engine.model import Model, in_precision, relabelled

# The tools that convert models import OpenVINO's telemetry. Without them nothing imports it, and a
# start is quicker. OpenVINO does without the tools if they cannot be imported.
sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]

import openvino  # noqa: E402

#: The entry of OpenVINO's description of an ONNX file that holds the metadata `MODEL_ENTRY`.
_ENTRY = ["framework", "model"]

#: Numbers of pictures that a network is compiled for, and from how many pictures on each is used. A
#: batch that is not full is padded.
_SIZES = {8: 7, 4: 3, 1: 1}

#: Threads for a single picture, as in the ONNX Runtime engine.
_MOST_THREADS = 4

#: Everything that OpenVINO has made in this process. After it frees a network, the next signal
#: kills the process, because the kernel cannot save the registers. The limits on decoding are such
#: signals. Seen with OpenVINO 2026.4.1 on a processor with AMX.
_ALIVE: list[Any] = []

_Precision = Literal["fp32", "bf16"]
_TYPES: dict[_Precision, str] = {"fp32": "f32", "bf16": "bf16"}


class OpenvinoEngine:
    name = "openvino"
    pictures_at_once = max(_SIZES)

    def __init__(
        self,
        model: Model,
        precision: _Precision,
        networks: _Networks,
        threads_of_lone: int,
    ) -> None:
        self.model = model
        self.precision: str = precision
        self._networks = networks
        self._threads_of_lone = threads_of_lone

    @classmethod
    def load(
        cls,
        path: Path,
        labels: Path | None = None,
        *,
        precision: _Precision,
        cores: int = 1,
        for_users: bool = True,
    ) -> OpenvinoEngine:
        """Load an export. Labels from a file replace its own.

        A single picture may use `cores` cores. If it is not `for_users`, who wait for single
        pictures, only full batches are compiled now, and everything else at its first use.

        Raises ModelError if the file is not a complete export, OpenVINO cannot compute it in this
        precision, or the labels do not fit.
        """
        try:
            network = openvino.Core().read_model(path)
            model = TypeAdapter(Model).validate_json(network.get_rt_info(_ENTRY).astype(str))
            # The file of a package may take one picture at a time.
            sizes = list(_SIZES) if network.input(0).partial_shape[0].is_dynamic else [1]
            threads = min(cores, _MOST_THREADS)
            networks = _Networks(network, precision, sizes)
            for size in sizes if for_users else sizes[:1]:
                networks.of(size)
            if for_users:
                networks.of(1, threads)
        except Exception as error:  # OpenVINO's errors are RuntimeErrors, and there are others.
            raise ModelError(
                f"OpenVINO cannot use {path}. If it is not a complete export, delete it and run "
                f"`python -m workers.engine.export`. If it is, set ENGINE=onnxruntime. {error}"
            ) from error
        if labels is not None:
            model = relabelled(model, labels, classes=len(model.labels))
        return cls(in_precision(model, precision), precision, networks, threads)

    def predict(self, pixels: NDArray[np.uint8], *, alone: bool = False) -> NDArray[np.float32]:
        """Probabilities of shape (n, classes) for RGB pictures of shape (n, crop, crop, 3).

        If `alone` is set, several threads compute a single picture.
        """
        [scores] = self._run(pixels, 1, alone=alone)
        return scores

    def predict_and_embed(
        self, pixels: NDArray[np.uint8], *, alone: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The same, and the embeddings, of shape (n, model.embedding)."""
        scores, embeddings = self._run(pixels, 2, alone=alone)
        return scores, embeddings

    def _run(
        self, pixels: NDArray[np.uint8], outputs: int, *, alone: bool
    ) -> list[NDArray[np.float32]]:
        """The first outputs of the network. Others are not copied."""
        if alone and len(pixels) == 1:
            return _infer(self._networks.of(1, self._threads_of_lone), pixels, outputs)
        of_batches = [
            [each[: len(batch)] for each in _infer(self._networks.of(size), batch, outputs)]
            for size, batch in _batches(pixels, self._networks.sizes)
        ]
        return [np.concatenate(of_output) for of_output in zip(*of_batches, strict=True)]


class _Networks:
    """The model, compiled for each number of pictures and of threads."""

    def __init__(self, network: openvino.Model, precision: _Precision, sizes: list[int]) -> None:
        self._network = network
        self._precision = precision
        self.sizes = sizes  #: Numbers of pictures, the largest first.
        self._compiled: dict[tuple[int, int], openvino.InferRequest] = {}

    def of(self, pictures: int, threads: int = 1) -> openvino.InferRequest:
        """Compiles it at its first use. Raises what OpenVINO raises."""
        key = pictures, threads
        if key not in self._compiled:
            self._compiled[key] = _compiled(self._network, pictures, self._precision, threads)
        return self._compiled[key]


def computes_bf16() -> bool:
    """Whether the processor has instructions for bf16. Elsewhere it would be emulated."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def processor() -> str:
    """The name and the abilities of the processor, and OpenVINO's version."""
    core = openvino.Core()
    names = ("FULL_DEVICE_NAME", "DEVICE_ARCHITECTURE", "OPTIMIZATION_CAPABILITIES")
    return f"{[core.get_property('CPU', name) for name in names]} {openvino.get_version()}"


def _compiled(
    network: openvino.Model, pictures: int, precision: _Precision, threads: int = 1
) -> openvino.InferRequest:
    # The clones share the weights of the file.
    fixed = network.clone()
    _, *of_picture = network.input(0).partial_shape
    fixed.reshape([pictures, *of_picture])
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _TYPES[precision],
        # There is one pool process per core. Pinning would put all processes on the same core.
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    compiled = openvino.Core().compile_model(fixed, "CPU", options)
    _ALIVE.append((network, fixed, compiled))
    actual = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if actual != _TYPES[precision]:
        raise ValueError(f"it computes in {actual}")
    request = compiled.create_infer_request()
    _ALIVE.append(request)
    return request


def _batches(
    pixels: NDArray[np.uint8], sizes: Iterable[int]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Pictures for one call each, and which of the networks' sizes computes them."""
    while len(pixels):
        size = next(size for size in sizes if len(pixels) >= _SIZES[size])
        yield size, pixels[:size]
        pixels = pixels[size:]


def _infer(
    network: openvino.InferRequest, pixels: NDArray[np.uint8], outputs: int
) -> list[NDArray[np.float32]]:
    """Outputs for as many pictures as the network takes. `pixels` may have fewer."""
    given = network.get_input_tensor().data
    given[: len(pixels)] = pixels  # The rest still holds earlier pictures.
    network.infer()
    return [network.get_output_tensor(number).data.copy() for number in range(outputs)]
