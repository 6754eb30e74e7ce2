"""The CPU engine: ONNX Runtime on an export, one thread per pool process. No torch."""

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

# Pictures per run. On one core each costs as much as among 32, for half the memory.
_CHUNK = 8


class OnnxEngine:
    name = "onnxruntime"

    def __init__(self, session: onnxruntime.InferenceSession, model: Model) -> None:
        self.model = model
        self._session = session

    @classmethod
    def load(cls, path: Path, labels: Path | None = None) -> OnnxEngine:
        """Load an export; labels from a file replace its own.

        Raises ModelError where the file is no whole export or the labels do not fit.
        """
        try:
            session = onnxruntime.InferenceSession(
                path, _options(), providers=["CPUExecutionProvider"]
            )
            entries = session.get_modelmeta().custom_metadata_map
            model = TypeAdapter(Model).validate_json(entries[MODEL_ENTRY])
        except Exception as error:  # ONNX Runtime's errors have no class in common.
            raise ModelError(
                f"{path} is no usable export, delete it and run `python -m workers.export`: {error}"
            ) from error
        if labels is not None:
            model = relabelled(model, labels, classes=len(model.labels))
        return cls(session, model)

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of shape (n, classes) for RGB pictures of shape (n, crop, crop, 3)."""
        chunks = [pixels[first : first + _CHUNK] for first in range(0, len(pixels), _CHUNK)]
        return np.concatenate([self._session.run(None, {"pixels": each})[0] for each in chunks])


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    # One pool process per core: more threads, or threads that spin, take the neighbours' cores.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # It plans one block of memory per batch size seen, and never gives it back.
    options.enable_mem_pattern = False
    options.log_severity_level = 3  # Errors; it warns of graphics cards that it does not find.
    return options
