"""The work itself, as the service does it: each peer serves this, in processes of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.settings import Settings
from workers.engine import load_engine
from workers.decode.preprocessing import decode


class Classifier:
    """One thread; the model file is what MODEL, MODEL_WEIGHTS and DATA_DIR say."""

    def __init__(self, engine: Literal["onnxruntime", "torch"]) -> None:
        self._settings = Settings(engine=engine)
        self._engine = load_engine(self._settings)

    def labels(self, pictures: Sequence[bytes]) -> list[str]:
        """The best label of each picture."""
        found = self._engine.predict(np.stack([self._pixels(picture) for picture in pictures]))
        return [self._engine.model.labels[best] for best in found.argmax(axis=1)]

    def label(self, picture: bytes) -> str:
        return self.labels([picture])[0]

    def _pixels(self, picture: bytes) -> NDArray[np.uint8]:
        preset = self._engine.model.preset
        return decode(picture, preset, max_pixels=self._settings.max_image_pixels)
