"""The torch engine: fp16 on a CUDA card, fp32 on a CPU.

The CPU half is tested. The CUDA half has not been run on a card by the project's tests.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from shared.settings import Settings
from workers.engine import torchvision_model
from workers.engine.model import Model, relabelled
from workers.engine.torchvision_model import Classifier


class TorchEngine:
    name = "torch"

    def __init__(self, classifier: Classifier, model: Model) -> None:
        self.model = model
        self._classifier = classifier
        self._on_card = torch.cuda.is_available()
        if self._on_card:
            classifier.half().to(
                device="cuda", memory_format=torch.channels_last  # type: ignore[call-overload]
            )
        else:
            torch.set_num_threads(1)  # One pool process per core.

    @classmethod
    def load(cls, settings: Settings) -> TorchEngine:
        """Load the model that the settings name. Raises ModelError as `torchvision_model.load`."""
        classifier, model = torchvision_model.load(settings)
        if settings.model_labels is not None:
            model = relabelled(model, settings.model_labels, classes=len(model.labels))
        return cls(classifier, model)

    @torch.inference_mode()
    def predict(self, pixels: NDArray[np.uint8], *, alone: bool = False) -> NDArray[np.float32]:
        """Probabilities of shape (n, classes) for RGB pictures of shape (n, crop, crop, 3).

        A card is one for all: `alone` changes nothing.
        """
        # A card copies from pinned memory without the CPU; bytes are a quarter of what floats are.
        batch = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=self._on_card)
        batch.numpy()[...] = pixels
        if self._on_card:
            batch = batch.to("cuda", non_blocking=True)
        probabilities: NDArray[np.float32] = self._classifier(batch).cpu().numpy()
        return probabilities
