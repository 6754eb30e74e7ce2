"""A card's work, recorded once for a few sizes of batch and replayed.

To start a small network's two hundred steps one by one takes the CPU longer than the card needs for
them; a CUDA graph is started once. It has fixed shapes, so a batch is padded to the next size.

On a CPU nothing is recorded and each replay computes: so much of it is tested. None of it has been
run on a card by the project's tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

#: CUDA's libraries choose how to compute, and take the memory for it, in the first runs.
_WARM_UPS = 3


class Card:
    """Runs a classifier that lies on `device`. Sizes of batch are powers of two up to `largest`."""

    @torch.inference_mode()
    def __init__(
        self, classifier: torch.nn.Module, crop_size: int, *, largest: int, device: str = "cuda"
    ) -> None:
        sizes = [1]
        while sizes[-1] < largest:
            sizes.append(2 * sizes[-1])
        # They run in turn, so they share memory; the largest first takes what is enough for all.
        memory = torch.cuda.graph_pool_handle() if device == "cuda" else None
        self._runs = {
            size: _Run(classifier, (size, crop_size, crop_size, 3), torch.device(device), memory)
            for size in reversed(sizes)
        }

    @torch.inference_mode()
    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of shape (n, classes) for RGB pictures of shape (n, crop, crop, 3)."""
        largest = max(self._runs)
        turns = [pixels[first : first + largest] for first in range(0, len(pixels), largest)]
        return np.concatenate([self._run_for(len(turn))(turn) for turn in turns])

    def _run_for(self, pictures: int) -> _Run:
        return self._runs[min(size for size in self._runs if size >= pictures)]


class _Run:
    """One size of batch: where its pictures go, the work, and where its probabilities appear."""

    def __init__(
        self,
        classifier: torch.nn.Module,
        shape: tuple[int, ...],
        device: torch.device,
        memory: Any,
    ) -> None:
        # A card copies from pinned memory without the CPU; bytes are a quarter of what floats are.
        self._sent = torch.zeros(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._pixels = self._sent.to(device)
        self._replay, self._probabilities = _recorded(classifier, self._pixels, memory)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        pictures = len(pixels)
        self._sent.numpy()[:pictures] = pixels
        # What the last batch left behind them is computed again, and not looked at.
        self._pixels[:pictures].copy_(self._sent[:pictures], non_blocking=True)
        self._replay()
        # Waits for the card; only then may the next batch be written over this one.
        probabilities = self._probabilities[:pictures].to("cpu", copy=True)
        return probabilities.numpy()


def _recorded(
    classifier: torch.nn.Module, pixels: torch.Tensor, memory: Any
) -> tuple[Callable[[], Any], torch.Tensor]:
    """What computes anew from `pixels`, and the tensor that then holds the result."""
    if pixels.device.type != "cuda":
        probabilities = classifier(pixels)
        return lambda: probabilities.copy_(classifier(pixels)), probabilities
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_WARM_UPS):
            classifier(pixels)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=memory):
        probabilities = classifier(pixels)
    return graph.replay, probabilities
