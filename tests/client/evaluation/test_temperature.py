"""The temperature that `evaluate` fits is that of scipy, and the one that made the pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from client.evaluation.confidence import calibration_error
from client.evaluation.judged import Judged
from client.evaluation.temperature import Temperature, fit

Logits = NDArray[np.float64]


def drawn(number: int, classes: int, *, temperature: float) -> tuple[Logits, NDArray[np.intp]]:
    """Logits, and right labels as often as the logits at this temperature say."""
    source = np.random.default_rng(7)
    logits = source.normal(size=(number, classes)) * 3
    shares = softmax(logits / temperature, axis=1).cumsum(axis=1)
    return logits, (source.random((number, 1)) > shares).sum(axis=1).clip(max=classes - 1)


def table(logits: Logits, truths: NDArray[np.intp], labels: int = 10) -> list[Judged]:
    """What a table has of these pictures."""
    pictures = []
    for k, (scores, truth) in enumerate(zip(softmax(logits, axis=1), truths, strict=True)):
        best = np.argsort(-scores)[:labels]
        names, probabilities = tuple(f"c{each}" for each in best), tuple(scores[best].tolist())
        pictures.append(Judged(f"{k}.jpg", f"c{truth}", names, probabilities))
    return pictures


@pytest.mark.parametrize("temperature", [0.4, 1.7, 4.0])
def test_the_temperature_of_all_classes_is_that_of_scipy(temperature: float) -> None:
    logits, truths = drawn(800, 6, temperature=temperature)

    def loss(t: float) -> float:
        return float(-log_softmax(logits / t, axis=1)[np.arange(len(truths)), truths].sum())

    expected = minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-6})
    fitted = fit(table(logits, truths))
    assert fitted and fitted.pictures == 800
    assert fitted.temperature == pytest.approx(expected.x, rel=1e-3)
    assert fitted.low < temperature < fitted.high
    assert fitted.error_before == pytest.approx(calibration_error(table(logits, truths)))
    after = table(logits / expected.x, truths)
    assert fitted.error_after == pytest.approx(calibration_error(after), abs=2e-3)
    assert fitted.helps and fitted.error_after < fitted.error_before / 2


def test_ten_of_many_classes_are_enough() -> None:
    logits, truths = drawn(3000, 200, temperature=1.6)
    fitted = fit(table(logits, truths))
    assert fitted and 1000 < fitted.pictures < 3000
    assert fitted.low < 1.6 < fitted.high and fitted.high - fitted.low < 0.3
    assert fitted.helps and fitted.error_after < fitted.error_before


def test_names_that_stand_for_several_labels_count_together() -> None:
    """The table's labels have become names: two labels of a picture may have the same."""
    logits, truths = drawn(800, 6, temperature=2)
    pairs = {f"c{k}": f"n{k // 2}" for k in range(6)}
    pictures = [
        Judged(each.path, pairs[each.truth], tuple(map(pairs.get, each.labels)), each.probabilities)
        for each in table(logits, truths)
    ]

    def loss(t: float) -> float:
        shares = softmax(logits / t, axis=1).reshape(-1, 3, 2).sum(axis=2)
        return float(-np.log(shares[np.arange(len(truths)), truths // 2]).sum())

    expected = minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-6})
    fitted = fit(pictures)
    assert fitted and fitted.temperature == pytest.approx(expected.x, rel=1e-3)


def test_a_model_that_is_right_as_often_as_it_says_needs_none() -> None:
    fitted = fit(table(*drawn(800, 6, temperature=1)))
    assert fitted and fitted.low < 1 < fitted.high and not fitted.helps


@pytest.mark.parametrize(
    "pictures",
    [
        [],
        [Judged("a", "cat", ("cat",), (0.9,))],  # of a table with one label
        [Judged("a", "cat", ("cat", "dog"), (0.9, 0.1))] * 9,  # all right
        [Judged("a", "owl", ("cat", "dog"), (0.9, 0.1))] * 9,  # another label is right
        [
            Judged("a", "cat", ("dog", "cat"), (0.9, 0.8)),
            Judged("b", "cat", ("cat", "dog"), (0.9, 0.1)),
        ],
        [
            Judged("a", "cat", ("dog", "cat"), (3.5, -1.0)),
            Judged("b", "cat", ("cat", "dog"), (0.9, 0.1)),
        ],
    ],
    ids=["none", "one label", "all right", "not among them", "sigmoid", "no probabilities"],
)
def test_where_nothing_can_be_fitted(pictures: list[Judged]) -> None:
    assert fit(pictures) is None


def test_too_few_pictures_name_no_temperature() -> None:
    few = Temperature(2.7, 1.2, 20.0, 5, 0.4, 0.1)
    assert not few.helps and replace(few, high=4.0).helps
