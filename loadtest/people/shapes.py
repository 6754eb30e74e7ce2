"""How many people there are over a run's time."""

from __future__ import annotations

from collections.abc import Callable

#: Share of the most people, by the share of the run that has passed.
SHAPES: dict[str, Callable[[float], float]] = {
    "steady": lambda passed: 1.0,
    "ramp": lambda passed: passed,
    "spike": lambda passed: 1.0 if 0.4 <= passed < 0.6 else 0.2,
    # Half of what a short run may ask, for hours: what leaks or fills up shows only then.
    "soak": lambda passed: 0.5,
}


def people(shape: str, *, most: int, passed: float) -> int:
    """At least one, so that a run is never idle."""
    return max(1, round(most * SHAPES[shape](passed)))
