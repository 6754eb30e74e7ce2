"""The torch engine: fp16 on a CUDA card, fp32 on a CPU.

The CPU half is tested. The CUDA half has not been run on a card by the project's tests.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from shared.settings import Settings
from workers.engine import torchvision_model
from workers.engine.card import Card
from workers.engine.model import Model, relabelled
from workers.engine.torchvision_model import Classifier


class TorchEngine:
    name = "torch"

    def __init__(self, classifier: Classifier, model: Model, *, largest: int) -> None:
        """`largest`: the most pictures that one step on a card takes."""
        self.model = model
        self.pictures_at_once = largest
        self._classifier = classifier
        self._card: Card | None = None
        if torch.cuda.is_available():
            classifier.half().to(
                device="cuda", memory_format=torch.channels_last  # type: ignore[call-overload]
            )
            self._card = Card(classifier, model.preset.crop_size, largest=largest)
        else:
            torch.set_num_threads(1)  # One pool process per core.

    @classmethod
    def load(cls, settings: Settings) -> TorchEngine:
        """Load the model that the settings name. Raises ModelError as `torchvision_model.load`."""
        classifier, model = torchvision_model.load(settings)
        if settings.model_labels is not None:
            model = relabelled(model, settings.model_labels, classes=len(model.labels))
        return cls(classifier, model, largest=settings.max_batch_size)

    @torch.inference_mode()
    def predict(self, pixels: NDArray[np.uint8], *, alone: bool = False) -> NDArray[np.float32]:
        """Probabilities of shape (n, classes) for RGB pictures of shape (n, crop, crop, 3).

        A card is one for all: `alone` changes nothing.
        """
        if self._card:
            return self._card.predict(pixels)
        # Of pictures that decoding only looked at torch would complain: it could not write to them.
        probabilities: NDArray[np.float32] = self._classifier(torch.tensor(pixels)).numpy()
        return probabilities
