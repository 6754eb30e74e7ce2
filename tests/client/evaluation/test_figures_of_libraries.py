"""The figures of an evaluation are those that scikit-learn and scipy compute."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from client.evaluation import accuracy, confidence, several_labels
from client.evaluation.accuracy import Share
from client.evaluation.comparison import Comparison, compare
from client.evaluation.figures import figures
from client.evaluation.judged import Judged, Pictures
from client.evaluation.several_labels import Labelled, LabelledPictures
from tests.client.evaluation.pictures import made_up

PICTURES = made_up(3000)
TRUTHS = [each.truth for each in PICTURES]
LABELS = [each.label for each in PICTURES]


# The libraries take seconds to import. Only the process that runs these tests does so.
@pytest.fixture(scope="module")
def metrics() -> Any:
    from sklearn import metrics

    return metrics


@pytest.fixture(scope="module")
def stats() -> Any:
    from scipy import stats

    return stats


def test_accuracy_and_means(metrics: Any) -> None:
    result = figures(Pictures(judged=PICTURES))
    assert result["top_1"]["share"] == pytest.approx(metrics.accuracy_score(TRUTHS, LABELS))
    expected = metrics.precision_recall_fscore_support(
        TRUTHS, LABELS, average="macro", zero_division=0
    )
    assert list(result["macro"].values()) == pytest.approx(expected[:3])


def test_each_class(metrics: Any) -> None:
    names = sorted({*TRUTHS, *LABELS})
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        TRUTHS, LABELS, labels=names, zero_division=0
    )
    classes = accuracy.classes(PICTURES)
    assert [each.name for each in classes] == names
    assert [each.pictures for each in classes] == list(support)
    assert [each.precision for each in classes] == pytest.approx(precision)
    assert [each.recall for each in classes] == pytest.approx(recall)
    assert [each.f1 for each in classes] == pytest.approx(f1)


def test_the_confusion(metrics: Any) -> None:
    names = sorted({*TRUTHS, *LABELS})
    matrix = metrics.confusion_matrix(TRUTHS, LABELS, labels=names)
    counts = accuracy.confusion(PICTURES)
    assert [[counts[pair] for pair in product([name], names)] for name in names] == matrix.tolist()
    worst = accuracy.worst_pairs(PICTURES, 10)
    np.fill_diagonal(matrix, 0)
    assert [count for *_, count in worst] == sorted(matrix.ravel(), reverse=True)[:10]


def test_top_5(metrics: Any) -> None:
    many = [Judged("p", each, (*"abcdef",), (0.5, 0.2, 0.1, 0.1, 0.05, 0.05)) for each in "abef"]
    scores = np.array([[0.5, 0.2, 0.1, 0.09, 0.05, 0.04]] * 4)
    expected = metrics.top_k_accuracy_score([0, 1, 4, 5], scores, k=5, labels=range(6))
    assert accuracy.top_5(many).share == expected == 0.75


def test_the_bins_of_the_calibration() -> None:
    from sklearn.calibration import calibration_curve

    right = [each.is_right for each in PICTURES]
    probabilities = [each.probability for each in PICTURES]
    share, mean = calibration_curve(right, probabilities, n_bins=15)
    bins = confidence.bins(PICTURES)
    assert [each.right for each in bins] == pytest.approx(share)
    assert [each.probability for each in bins] == pytest.approx(mean)
    weights = [each.pictures for each in bins]
    expected = np.average(np.abs(share - mean), weights=weights)
    assert confidence.calibration_error(PICTURES) == pytest.approx(expected)


@pytest.mark.parametrize("right, of", [(0, 10), (10, 10), (1, 3), (815, 1000), (0, 1)])
def test_the_interval_of_a_share(stats: Any, right: int, of: int) -> None:
    expected = stats.binomtest(right, of).proportion_ci(method="wilson")
    assert Share(right, of).interval == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("first, second", [(0, 0), (1, 0), (12, 28), (28, 12), (700, 900), (5, 5)])
def test_the_comparison_of_two_models(stats: Any, first: int, second: int) -> None:
    comparison = Comparison(7, first, second, 3, ())
    expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert comparison.p_value == pytest.approx(expected)


def test_the_probability_of_a_name_is_that_of_all_its_labels() -> None:
    """With --names, a tabby and a Siamese cat may both be a cat."""
    sure = [Judged("p", "cat", ("cat", "dog", "cat"), (0.5, 0.1, 0.4))] * 9
    wrong = [Judged("p", "dog", ("cat", "dog", "cat"), (0.5, 0.1, 0.4))]
    assert confidence.calibration_error(sure + wrong) == pytest.approx(0)


def test_two_models_are_compared_on_the_pictures_of_both() -> None:
    other = made_up(3000, seed=0, skill=0.9)[:2000]
    comparison = compare(PICTURES, other)
    pairs = list(zip(PICTURES[:2000], other, strict=True))
    assert comparison.pictures == 2000
    assert comparison.only_first == sum(a.is_right and not b.is_right for a, b in pairs)
    assert comparison.only_second == sum(b.is_right and not a.is_right for a, b in pairs)
    assert len(comparison.differences) == sum(a.label != b.label for a, b in pairs)


def test_pictures_with_several_labels(metrics: Any) -> None:
    source = np.random.default_rng(5)
    names = [f"class {k}" for k in range(7)]
    truth, given = source.random((2, 500, 7)) < 0.3
    given[:, 6] = truth[:, 5] = False  # one is never given, and one is never right
    labels = [
        [frozenset(np.array(names)[row].tolist()) for row in table] for table in (truth, given)
    ]
    pictures = [Labelled("p", *pair) for pair in zip(*labels, strict=True)]
    result = several_labels.figures(LabelledPictures(labelled=pictures))
    assert result["exact"]["share"] == pytest.approx(metrics.accuracy_score(truth, given))
    for average in ("micro", "macro"):
        expected = metrics.precision_recall_fscore_support(
            truth, given, average=average, zero_division=0
        )
        assert list(result[average].values()) == pytest.approx(expected[:3])
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        truth, given, zero_division=0
    )
    classes = several_labels.classes(pictures)
    assert [each.name for each in classes] == names
    assert [each.pictures for each in classes] == list(support)
    assert [each.precision for each in classes] == pytest.approx(precision)
    assert [each.recall for each in classes] == pytest.approx(recall)
    assert [each.f1 for each in classes] == pytest.approx(f1)
