"""The number of users over the time of a run."""

from __future__ import annotations

from collections.abc import Callable

#: The share of all users, from the share of the run that has passed.
SHAPES: dict[str, Callable[[float], float]] = {
    "steady": lambda passed: 1.0,
    "ramp": lambda passed: passed,
    "spike": lambda passed: 1.0 if 0.4 <= passed < 0.6 else 0.2,
    # Half of the users for hours, because a leak shows only then.
    "soak": lambda passed: 0.5,
}


def people(shape: str, *, most: int, passed: float) -> int:
    """The number of users, at least one, so that a run is never idle."""
    return max(1, round(most * SHAPES[shape](passed)))
