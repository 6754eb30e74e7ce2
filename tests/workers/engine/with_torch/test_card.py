"""Batches for a card. The tests use the CPU, which computes instead of replaying a graph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from workers.engine.card import Card

pytestmark = pytest.mark.torch


class Brightness(torch.nn.Module):
    """Gives two numbers that identify a picture, and records the sizes of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(pixels))
        mean = pixels.float().mean((1, 2, 3))
        return torch.stack([mean, 255 - mean], 1)


def numbered(*values: int) -> NDArray[np.uint8]:
    return np.stack([np.full((4, 4, 3), each, np.uint8) for each in values])


@pytest.mark.parametrize(
    "pictures, batches",
    [(1, [1]), (2, [2]), (3, [4]), (8, [8]), (9, [8, 1]), (21, [8, 8, 8])],
)
def test_a_batch_is_padded_to_the_next_size_or_split(pictures: int, batches: list[int]) -> None:
    classifier = Brightness()
    card = Card(classifier, 4, largest=7, device="cpu")
    assert classifier.batches == [8, 4, 2, 1]  # One graph for each.
    classifier.batches.clear()
    answers = card.predict(numbered(*range(pictures)))
    assert classifier.batches == batches
    assert answers.tolist() == [[each, 255 - each] for each in range(pictures)]


def test_the_next_batch_does_not_overwrite_a_result() -> None:
    card = Card(Brightness(), 4, largest=4, device="cpu")
    first = card.predict(numbered(1, 2, 3))
    second = card.predict(numbered(9))
    third = card.predict(numbered(7, 8))
    assert [each[:, 0].tolist() for each in (first, second, third)] == [[1, 2, 3], [9], [7, 8]]
