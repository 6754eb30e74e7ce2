"""Decoding and the model, as the service does them. Each peer serves this in its own processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.settings import Settings
from workers.engine import load_engine
from workers.decode.preprocessing import decode


class Classifier:
    """Runs in one thread. MODEL, MODEL_WEIGHTS and DATA_DIR choose the model file."""

    def __init__(self, engine: Literal["onnxruntime", "torch"]) -> None:
        self._settings = Settings(engine=engine)
        self._engine = load_engine(self._settings)

    def labels(self, pictures: Sequence[bytes]) -> list[str]:
        """The best label of each picture."""
        scores = self._engine.predict(np.stack([self._pixels(picture) for picture in pictures]))
        return [self._engine.model.labels[best] for best in scores.argmax(axis=1)]

    def label(self, picture: bytes) -> str:
        return self.labels([picture])[0]

    def _pixels(self, picture: bytes) -> NDArray[np.uint8]:
        preset = self._engine.model.preset
        return decode(picture, preset, max_pixels=self._settings.max_image_pixels)
