"""Which labels a picture gets by the thresholds of its model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shared.jobs import ItemState, Outcome
from tests.workers.engine.tiny_export import MODEL
from workers.classify.judge import Judge
from workers.engine import Model

LABELS = tuple("abcdefghijkl")
SCORES = np.linspace(0.05, 0.6, 12, dtype=np.float32)  # a has 0.05, l has 0.6


def model(several: bool, **thresholds: float) -> Model:
    every = tuple(thresholds.get(label, thresholds.get("every", 0)) for label in LABELS)
    return replace(MODEL, labels=LABELS, several=several, thresholds=every)


def labels(of: Model, *, top_k: int = 10, min_score: float = 0) -> tuple[str, ...]:
    judged = Judge(of).judge(SCORES)
    outcome = Outcome(state=ItemState.SUCCEEDED, **judged._asdict())
    # As a record has it: all predictions in the cache, and `top_k` of them in the job.
    outcome = Outcome.from_json(outcome.to_json())
    outcome = replace(outcome, predictions=outcome.predictions[:top_k])
    verdict = outcome.verdict(min_score)
    assert verdict.label == (verdict.labels[0] if verdict.labels else None)
    assert verdict.below_threshold == (not verdict.labels)
    assert len(outcome.predictions) == top_k, "raw scores are there in any case"
    return verdict.labels


def test_without_thresholds_the_best_label_is_given() -> None:
    judged = Judge(replace(MODEL, labels=LABELS)).judge(SCORES)
    assert [each.class_name for each in judged.predictions[:2]] == ["l", "k"]
    assert judged.reaching is None
    outcome = Outcome(state=ItemState.SUCCEEDED, **judged._asdict())
    assert "reaching" not in outcome.to_json(), "the record is that of the release before"


@pytest.mark.parametrize(
    "thresholds, min_score, expected",
    [
        ({"l": 0.6}, 0, ()),  # 0.6 as float32 is a little more than that, see below
        ({"l": 0.59}, 0, ("l",)),
        ({"l": 0.59}, 0.7, ()),  # the stricter of both holds
        ({"l": 0.7}, 0.5, ()),
        ({"l": 0.7}, 0, ()),  # another label is not given, although it reaches its threshold
        ({"k": 0.9}, 0, ("l",)),
        ({"every": 0.65}, 0, ()),
    ],
)
def test_if_one_label_is_right_only_the_best_may_be_given(
    thresholds: dict[str, float], min_score: float, expected: tuple[str, ...]
) -> None:
    if thresholds == {"l": 0.6}:
        thresholds = {"l": float(SCORES[11]) + 1e-9}
    for top_k in (1, 10):
        assert labels(model(False, **thresholds), top_k=top_k, min_score=min_score) == expected


def test_several_labels_may_be_given_and_top_k_is_the_most() -> None:
    many = model(True, every=0.3)
    assert labels(many) == tuple("lkjihgf")
    assert labels(many, top_k=3) == tuple("lkj")
    assert labels(many, min_score=0.5) == tuple("lkj")
    assert labels(many, min_score=0.1) == tuple("lkjihgf")
    assert labels(model(True, every=0.7)) == ()
    assert labels(model(True, every=0.01)) == tuple("lkjihgfedc"), "ten are kept"


def test_a_label_with_a_low_threshold_is_not_lost_behind_surer_ones() -> None:
    """It is the eleventh by its score, and ten predictions are kept."""
    rare = model(True, every=0.58, b=0.02)
    assert labels(rare) == ("l", "b")
    assert labels(rare, top_k=2) == ("l", "b")
    judged = Judge(rare).judge(SCORES)
    assert [each.class_name for each in judged.predictions] == [*"lbkjihgfed"]
    assert labels(rare, min_score=0.3) == ("l",)
