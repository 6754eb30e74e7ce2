"""The simulated scalers behave as Kubernetes and KEDA document, and the shipped settings work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loadtest.scaling.autoscale import BULK_ACCEPTS, SCENARIOS, table
from loadtest.scaling.lane_model import Worker, simulate
from loadtest.scaling.scaler import SYNC_SECONDS, Policy, Rules, Scaler, Scaling
from shared.jobs import PART_SIZE, Lane

_ROOT = Path(__file__).parents[2]

_AT_ONCE = Rules(window_seconds=0, policies=(Policy(kind="Pods", value=100, seconds=15),))
_PLAIN = Scaling(minimum=1, maximum=50, target=10, up=_AT_ONCE, down=_AT_ONCE)


def _follow(scaling: Scaling, outstanding: list[float]) -> list[int]:
    """The replicas after each decision of the HPA. It reads one value for each."""
    scaler = Scaler(scaling)
    return [scaler.tick(k * SYNC_SECONDS, each) for k, each in enumerate(outstanding)]


def test_replicas_are_what_the_backlog_needs_rounded_up() -> None:
    assert _follow(_PLAIN, [10, 25, 300, 0]) == [1, 3, 30, 1]


def test_a_tenth_off_the_target_changes_nothing() -> None:
    assert _follow(_PLAIN, [100, 108, 92, 112]) == [10, 10, 10, 12]


def test_replicas_stay_between_minimum_and_maximum() -> None:
    assert _follow(_PLAIN, [10_000, 0]) == [50, 1]


def test_the_policy_that_allows_the_larger_step_counts() -> None:
    double_or_four = Rules(
        window_seconds=0,
        policies=(
            Policy(kind="Percent", value=100, seconds=15),
            Policy(kind="Pods", value=4, seconds=15),
        ),
    )
    assert _follow(replace(_PLAIN, up=double_or_four), [500] * 5) == [5, 10, 20, 40, 50]
    slowly = Rules(window_seconds=0, policies=(Policy(kind="Percent", value=50, seconds=60),))
    replicas = _follow(replace(_PLAIN, down=slowly), [400] * 5 + [0] * 9)
    assert replicas[4:] == [40, 20, 20, 20, 20, 10, 10, 10, 10, 5]


def test_going_down_stops_at_the_highest_wish_of_the_window() -> None:
    patient = replace(_PLAIN, down=replace(_AT_ONCE, window_seconds=60))
    assert _follow(patient, [100, 20, 20, 20, 20, 20]) == [10, 10, 10, 10, 10, 2]


def test_a_lane_starts_at_the_poll_and_ends_after_the_cooldown() -> None:
    scaling = replace(_PLAIN, minimum=0, poll_seconds=5, cooldown_seconds=60)
    scaler = Scaler(scaling)
    replicas = [scaler.tick(now, 1 if 7 <= now <= 20 else 0) for now in range(120)]
    assert replicas.index(1) == 10
    # The last poll that found work was at 20.
    assert len(replicas) - replicas[::-1].index(1) == 20 + 60 + 5


def test_everything_is_served_in_the_order_of_its_arrival() -> None:
    fixed = replace(_PLAIN, minimum=1, maximum=1)
    worker = Worker(processes=1, seconds_per_image=0.01, seconds_per_batch=0)
    history = simulate(
        lambda now, _: 500.0 if now == 3 else 0.0, 20, fixed, worker, images_per_part=1
    )
    assert history.wait(1) == 4, "the last of 500 waits while the others take 5 s at 100/s"
    assert history.outstanding[-1] == 0 and history.arrived.sum() == 500


def test_a_small_batch_costs_more_per_image_than_a_full_one() -> None:
    worker = Worker()
    single = worker.batch_seconds(1)
    full = worker.batch_seconds(worker.largest_batch) / worker.largest_batch
    assert 1.05 < single / full < 1.3
    assert worker.largest_batch == PART_SIZE


def test_the_largest_backlog_needs_every_worker() -> None:
    """Otherwise the last workers would never start."""
    bulk = Scaling.shipped(f"worker-{Lane.BULK}")
    assert (bulk.maximum - 1) * bulk.target < BULK_ACCEPTS / PART_SIZE


def test_the_shipped_settings_meet_their_aims() -> None:
    history = {
        each.name: each.run(Scaling.shipped(f"worker-{each.lane}"))
        for each in SCENARIOS
        if "nodes" not in each.name
    }
    assert history["day"].wait(1) <= 2 and history["day"].refused.sum() == 0
    assert history["steps"].wait(1) <= SYNC_SECONDS + Worker().start_seconds
    night = history["night job"]
    assert night.arrived.sum() == pytest.approx(1_000_000) and night.outstanding[-1] == 0
    assert night.replicas[0] == night.replicas[-1] == 0
    for name in ("night job", "folders"):
        # While there is work, a worker is missing only for the poll and its start.
        idle = (history[name].ready == 0) & (history[name].outstanding > 0)
        longest = max(map(len, "".join(np.where(idle, "x", " ")).split()), default=0)
        assert longest <= 5 + Worker().start_seconds + 1


def test_the_document_has_the_table_that_the_command_prints() -> None:
    assert table() in (_ROOT / "docs/scaling.md").read_text(), f"it should have:\n{table()}"
