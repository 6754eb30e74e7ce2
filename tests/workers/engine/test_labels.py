"""Labels are read from a file, and the best ones become predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.errors import ModelError
from workers.engine.labels import read_labels, top


def test_labels_are_read_one_per_line(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes("tabby cat\r\nHund, groß\nred fox\n\n".encode("utf-8-sig"))
    assert read_labels(file) == ("tabby cat", "Hund, groß", "red fox")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot read"),
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"cat\n\ndog\n", "line 2"),
        (b"\ncat\n", "line 1"),
        (b"caf\xe9\n", "cannot read"),
    ],
)
def test_a_malformed_file_of_labels_is_a_model_error(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "labels.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ModelError, match=f"MODEL_LABELS: .*{reason}"):
        read_labels(file)


def test_the_best_come_first_and_among_equals_the_lower_id() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.2, 0.2], np.float32)
    best = top(scores, "abcde", 3)
    assert [(each.class_id, each.class_name) for each in best] == [(2, "c"), (1, "b"), (3, "d")]
    assert best[0].probability == pytest.approx(0.3)


def test_predictions_are_plain_numbers() -> None:
    (best,) = top(np.array([0.25, 0.75], np.float32), ("no", "yes"), 1)
    assert (type(best.class_id), type(best.probability)) == (int, float)


def test_with_fewer_classes_than_asked_for_all_are_given() -> None:
    assert len(top(np.array([0.25, 0.75], np.float32), ("no", "yes"), 10)) == 2


def test_the_result_equals_sorting_all_classes() -> None:
    scores = np.random.default_rng(0).integers(0, 50, 1000).astype(np.float32)
    labels = [str(i) for i in range(1000)]
    expected = sorted(range(1000), key=lambda i: (-scores[i], i))
    for k in (1, 5, 10, 1000):
        assert [each.class_id for each in top(scores, labels, k)] == expected[:k]
