"""A CPU engine: ONNX Runtime on an export, one thread per pool process, without torch.

A second session computes a single picture with several threads. It is used while the other cores
are idle, so that a client waits less. It holds the weights again, which takes some 20 MB.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import TypeAdapter

from shared.errors import ModelError
from workers.engine.model import Model, relabelled
from workers.engine.package import DESCRIPTION_FILE

#: The entry of the export's metadata that holds the Model, as JSON.
MODEL_ENTRY = "model"

#: The name of the output of a package that is the embedding. The scores are the first output.
EMBEDDING = "embedding"

#: Threads for a single picture. Two need 0.6 of the time of one. The layers are too small for more
#: threads to help.
_MOST_THREADS = 4


class OnnxEngine:
    name = "onnxruntime"
    precision = "fp32"
    # On one core a picture costs as much among 8 as among 32, and 8 need half the memory.
    pictures_at_once = 8

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        model: Model,
        lone_session: onnxruntime.InferenceSession | None = None,
    ) -> None:
        self.model = model
        self._session = session
        self._lone_session = lone_session or session
        self._scores = session.get_outputs()[0].name
        number = session.get_inputs()[0].shape[0]
        if isinstance(number, int):  # The file of a package may take a fixed number.
            self.pictures_at_once = number

    @classmethod
    def load(cls, path: Path, labels: Path | None = None, *, cores: int = 1) -> OnnxEngine:
        """Load an export. Labels from a file replace its own.

        A single picture may use `cores` cores. Raises ModelError if the file is not a complete
        export or the labels do not fit.
        """
        try:
            session = _session(path, threads=1)
            lone = _session(path, threads=min(cores, _MOST_THREADS)) if cores > 1 else None
            entries = session.get_modelmeta().custom_metadata_map
            model = TypeAdapter(Model).validate_json(entries[MODEL_ENTRY])
        except Exception as error:  # ONNX Runtime's errors have no common class.
            raise ModelError(f"{_advice(path)} {error}") from error
        if labels is not None:
            model = relabelled(model, labels, classes=len(model.labels))
        return cls(session, model, lone)

    def predict(self, pixels: NDArray[np.uint8], *, alone: bool = False) -> NDArray[np.float32]:
        """Probabilities of shape (n, classes) for RGB pictures of shape (n, crop, crop, 3).

        If `alone` is set, several threads compute a single picture.
        """
        [scores] = self._run(pixels, [self._scores], alone=alone)
        return scores

    def predict_and_embed(
        self, pixels: NDArray[np.uint8], *, alone: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The same, and the embeddings, of shape (n, model.embedding)."""
        scores, embeddings = self._run(pixels, [self._scores, EMBEDDING], alone=alone)
        return scores, embeddings

    def _run(
        self, pixels: NDArray[np.uint8], names: list[str], *, alone: bool
    ) -> list[NDArray[np.float32]]:
        """The outputs with these names. Others are not copied."""
        if alone and len(pixels) == 1:
            outputs: list[NDArray[np.float32]] = self._lone_session.run(names, {"pixels": pixels})
            return outputs
        size = self.pictures_at_once
        chunks = [pixels[first : first + size] for first in range(0, len(pixels), size)]
        of_chunks = [self._session.run(names, {"pixels": each}) for each in chunks]
        return [np.concatenate(of_name) for of_name in zip(*of_chunks, strict=True)]


def _advice(path: Path) -> str:
    """What to do if a file cannot be loaded. That of a package is not made by our export."""
    if (path.parent / DESCRIPTION_FILE).exists():
        return f"This release cannot load {path}. Make the package again with the same release."
    return f"{path} is not a complete export. Delete it and run `python -m workers.engine.export`."


def _session(path: Path, *, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # There is one pool process per core. More threads, or spinning ones, would take other cores.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Several threads meet after every layer, so they spin. They stop after each picture.
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(threads > 1)))
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # It would allocate a block for every batch size and never free it.
    options.enable_mem_pattern = False
    options.log_severity_level = 3  # Errors only. It warns if it finds no graphics card.
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
