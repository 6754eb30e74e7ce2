"""The torch engine: fp16 on a CUDA card, fp32 on a CPU.

The CPU part is tested. docs/models.md says what has not yet run on a card.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from shared.settings import Settings
from workers.engine import torchvision_model
from workers.engine.card import Card
from workers.engine.model import Model, in_precision, relabelled
from workers.engine.torchvision_model import Classifier


class TorchEngine:
    name = "torch"

    def __init__(
        self,
        classifier: Classifier,
        model: Model,
        *,
        largest: int,
        on_cpu: bool = False,
        full_precision: bool = False,
    ) -> None:
        """`largest` is the largest batch on a card. `on_cpu`: use no card, even if there is one.

        `full_precision`: a card computes in fp32.
        """
        self.pictures_at_once = largest
        self._classifier = classifier
        self._card: Card | None = None
        on_card = torch.cuda.is_available() and not on_cpu
        self.precision = "fp16" if on_card and not full_precision else "fp32"
        self.model = in_precision(model, self.precision)
        if on_card:
            if not full_precision:
                classifier.half()
            classifier.to(
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
        return cls(
            classifier,
            model,
            largest=settings.max_batch_size,
            on_cpu=settings.engine == "torch-cpu",
            full_precision=settings.precision == "fp32",
        )

    @torch.inference_mode()
    def predict(self, pixels: NDArray[np.uint8], *, alone: bool = False) -> NDArray[np.float32]:
        """Probabilities of shape (n, classes) for RGB pictures of shape (n, crop, crop, 3).

        `alone` changes nothing: all processes share the card.
        """
        if self._card:
            return self._card.predict(pixels)
        # `tensor` copies. torch would warn about an array that it cannot write to.
        probabilities: NDArray[np.float32] = self._classifier(torch.tensor(pixels)).numpy()
        return probabilities

    def predict_and_embed(
        self, pixels: NDArray[np.uint8], *, alone: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Only packages have embeddings, and this engine loads none."""
        raise NotImplementedError
