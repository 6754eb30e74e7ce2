"""Decoding and the model, as the service does them. Each peer serves this in its own processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.settings import Settings
from workers.engine import load_engine
from workers.decode.preprocessing import decode

EngineName = Literal["onnxruntime", "openvino", "torch"]


class Classifier:
    """Runs in one thread. MODEL, MODEL_WEIGHTS and DATA_DIR choose the model file."""

    def __init__(self, engine: EngineName | None = None) -> None:
        """Without `engine`, the variable ENGINE chooses it."""
        self._settings = Settings(engine=engine) if engine else Settings()
        self._engine = load_engine(self._settings)

    def labels(self, pictures: Sequence[bytes]) -> list[str]:
        """The best label of each picture."""
        return [label for label, _ in self.best(pictures)]

    def best(self, pictures: Sequence[bytes]) -> list[tuple[str, float]]:
        """The best label of each picture, and its probability."""
        scores = self._engine.predict(np.stack([self._pixels(picture) for picture in pictures]))
        labels = [self._engine.model.labels[best] for best in scores.argmax(axis=1)]
        return list(zip(labels, map(float, scores.max(axis=1)), strict=True))

    @property
    def pictures_at_once(self) -> int:
        """The best number of pictures for one call."""
        return self._engine.pictures_at_once

    def label(self, picture: bytes) -> str:
        return self.labels([picture])[0]

    def _pixels(self, picture: bytes) -> NDArray[np.uint8]:
        preset = self._engine.model.preset
        return decode(picture, preset, max_pixels=self._settings.max_image_pixels)
