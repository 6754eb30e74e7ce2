"""Runs a network on a CUDA card by replaying recorded graphs.

A small network has two hundred steps. Starting them one by one takes the CPU longer than the card
needs to compute them. A CUDA graph is started as a whole. It has a fixed shape, so one is recorded
for each of a few batch sizes, and a batch is padded to the next size.

On a CPU nothing is recorded, and a replay computes. The tests run only this. docs/models.md says
what has not yet run on a card.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

#: In the first runs CUDA's libraries choose their algorithms and allocate memory.
_WARM_UPS = 3


class Card:
    """Runs a classifier on `device`, in batches of powers of two up to at least `largest`."""

    @torch.inference_mode()
    def __init__(
        self, classifier: torch.nn.Module, crop_size: int, *, largest: int, device: str = "cuda"
    ) -> None:
        sizes = [1]
        while sizes[-1] < largest:
            sizes.append(2 * sizes[-1])
        # Only one graph runs at a time, so they share memory. The largest allocates it first.
        memory = torch.cuda.graph_pool_handle() if device == "cuda" else None
        self._runs = {
            size: _Run(classifier, (size, crop_size, crop_size, 3), torch.device(device), memory)
            for size in reversed(sizes)
        }

    @torch.inference_mode()
    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of shape (n, classes) for RGB pictures of shape (n, crop, crop, 3)."""
        largest = max(self._runs)
        batches = [pixels[first : first + largest] for first in range(0, len(pixels), largest)]
        return np.concatenate([self._run_for(len(batch))(batch) for batch in batches])

    def _run_for(self, pictures: int) -> _Run:
        return self._runs[min(size for size in self._runs if size >= pictures)]


class _Run:
    """One batch size: its buffer for pictures, its graph, and its buffer for probabilities."""

    def __init__(
        self,
        classifier: torch.nn.Module,
        shape: tuple[int, ...],
        device: torch.device,
        memory: Any,
    ) -> None:
        # A card reads pinned memory without the CPU. Bytes take a quarter of the space of floats.
        self._sent = torch.zeros(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._pixels = self._sent.to(device)
        self._replay, self._probabilities = _recorded(classifier, self._pixels, memory)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        pictures = len(pixels)
        self._sent.numpy()[:pictures] = pixels
        # The rest of the buffer still holds the last batch. Its results are ignored.
        self._pixels[:pictures].copy_(self._sent[:pictures], non_blocking=True)
        self._replay()
        # This waits for the card. Only then may the next batch overwrite this one.
        probabilities = self._probabilities[:pictures].to("cpu", copy=True)
        return probabilities.numpy()


def _recorded(
    classifier: torch.nn.Module, pixels: torch.Tensor, memory: Any
) -> tuple[Callable[[], Any], torch.Tensor]:
    """A function that computes from the present `pixels`, and the tensor for its result."""
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
