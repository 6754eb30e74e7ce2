"""Portions of a limited size."""

from __future__ import annotations

import pytest

from shared.portions import portions


@pytest.mark.parametrize(
    "sizes, together",
    [
        ([], []),
        ([3], [[3]]),
        ([1, 2, 1], [[1, 2], [1]]),
        ([9, 1, 9, 9], [[9], [1], [9], [9]]),
        ([1, 1, 1, 1], [[1, 1, 1], [1]]),
    ],
)
def test_items_are_together_as_long_as_they_fit(
    sizes: list[int], together: list[list[int]]
) -> None:
    assert list(portions(sizes, size=int, most=3)) == together
