"""The CPU engine: ONNX Runtime on an export, one thread per pool process. No torch.

A second session computes a lone picture with several threads: where nothing else is to be done,
the other cores shorten somebody's wait. It holds the weights once more, some 20 MB.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import TypeAdapter

from shared.errors import ModelError
from workers.engine.model import Model, relabelled

#: The export's metadata entry that holds the Model, as JSON.
MODEL_ENTRY = "model"

#: Threads for a lone picture. Two take 0.6 of the time of one; its layers are too small for many.
_MOST_THREADS = 4


class OnnxEngine:
    name = "onnxruntime"
    # On one core each costs as much as among 32, for half the memory.
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

    @classmethod
    def load(cls, path: Path, labels: Path | None = None, *, cores: int = 1) -> OnnxEngine:
        """Load an export; labels from a file replace its own.

        `cores` are those that a lone picture may use.

        Raises ModelError where the file is no whole export or the labels do not fit.
        """
        try:
            session = _session(path, threads=1)
            lone = _session(path, threads=min(cores, _MOST_THREADS)) if cores > 1 else None
            entries = session.get_modelmeta().custom_metadata_map
            model = TypeAdapter(Model).validate_json(entries[MODEL_ENTRY])
        except Exception as error:  # ONNX Runtime's errors have no class in common.
            raise ModelError(
                f"{path} is no usable export, delete it and run "
                f"`python -m workers.engine.export`: {error}"
            ) from error
        if labels is not None:
            model = relabelled(model, labels, classes=len(model.labels))
        return cls(session, model, lone)

    def predict(self, pixels: NDArray[np.uint8], *, alone: bool = False) -> NDArray[np.float32]:
        """Probabilities of shape (n, classes) for RGB pictures of shape (n, crop, crop, 3).

        `alone` and one picture: several threads compute it.
        """
        if alone and len(pixels) == 1:
            scores: NDArray[np.float32] = self._lone_session.run(None, {"pixels": pixels})[0]
            return scores
        size = self.pictures_at_once
        chunks = [pixels[first : first + size] for first in range(0, len(pixels), size)]
        return np.concatenate([self._session.run(None, {"pixels": each})[0] for each in chunks])


def _session(path: Path, *, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # One pool process per core: more threads, or threads that spin, take the neighbours' cores.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Several threads meet after every layer, so they spin; and stop when the picture is done.
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(threads > 1)))
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # It plans one block of memory per batch size seen, and never gives it back.
    options.enable_mem_pattern = False
    options.log_severity_level = 3  # Errors; it warns of graphics cards that it does not find.
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
