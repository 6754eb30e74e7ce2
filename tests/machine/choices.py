"""What Hypothesis chooses for a step."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from hypothesis import strategies as st

from shared.jobs import Lane
from shared.records.claims import Claim
from tests.machine import world

T = TypeVar("T")


class Cut(NamedTuple):
    """The process is interrupted before the command that follows `after` others."""

    after: int
    by: str


INTERRUPTIONS = ("death", "recovery", "commit", "cancel", "start", "retry", "expiry", "twin")

CLIENTS = ("somebody", "a second", "")

weights = st.sampled_from([1, 1, 3])
lanes = st.sampled_from([Lane.BULK, Lane.BULK, Lane.INTERACTIVE])
picks = st.integers(0, 5)  #: Which of the newest things.
totals_of_jobs = st.sampled_from([1, 1, 2, 3, 4, 7, 9])  #: One to three parts.
claims = st.none() | st.builds(
    Claim, owner=st.just(""), key=st.sampled_from("ab"), fingerprint=st.sampled_from("xy")
)
positions = st.frozensets(st.integers(0, world.PART_SIZE - 1))
cuts = st.none() | st.none() | st.builds(Cut, st.integers(0, 7), st.sampled_from(INTERRUPTIONS))


def newest(things: list[T], pick: int) -> T:
    """The last of these things, or the one before that, and so on."""
    return things[-1 - pick % len(things)]
