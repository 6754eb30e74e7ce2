"""All figures of an evaluation, as JSON and as tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..tables.formats import guarded
from . import accuracy, confidence, label_errors
from .accuracy import ClassFigures, Share
from .comparison import Comparison
from .judged import Judged, Pictures
from .temperature import fit

_VERSION = 1

#: Confusions that the figures name. The full matrix is a table of its own.
_PAIRS = 10


def figures(
    pictures: Pictures, comparison: Comparison | None = None, *, min_score: float = 0
) -> dict[str, Any]:
    judged = pictures.judged
    temperature = fit(judged)
    return {
        "version": _VERSION,
        "model_versions": sorted(pictures.model_versions),
        "pictures": len(judged),
        "failed": len(pictures.failed),
        "missing": len(pictures.missing),
        "top_1": share_figures(accuracy.top_1(judged)),
        "top_5": share_figures(accuracy.top_5(judged)),
        "macro": accuracy.means(accuracy.classes(judged)),
        "calibration_error": confidence.calibration_error(judged),
        "confusions": [
            {"class": name, "label": label, "pictures": number}
            for name, label, number in accuracy.worst_pairs(judged, _PAIRS)
        ],
        "temperature": temperature and asdict(temperature) | {"helps": temperature.helps},
        "labelled": asdict(confidence.labelled(judged, min_score)),
        "thresholds": [asdict(each) for each in confidence.thresholds(judged, min_score)],
        "bins": [asdict(each) for each in confidence.bins(judged)],
        "likely_label_errors": len(label_errors.suspects(judged)),
        "comparison": _comparison(comparison) if comparison else None,
    }


def write_tables(folder: Path, pictures: Pictures, comparison: Comparison | None) -> None:
    """Write classes, confusion and likely label errors as CSV. Raises OSError."""
    judged = pictures.judged
    write_classes(folder, accuracy.classes(judged))
    _write_confusion(folder / "confusion.csv", judged)
    _write(
        folder / "label-errors.csv",
        ("path", "class", "likely", "margin"),
        (
            (each.picture.path, each.picture.truth, each.label, each.margin)
            for each in label_errors.suspects(judged)
        ),
    )
    if comparison:
        _write(
            folder / "differences.csv",
            ("path", "class", "label", "other_label"),
            (
                (one.path, one.truth, one.label, other.label)
                for one, other in comparison.differences
            ),
        )


def write_classes(folder: Path, classes: Iterable[ClassFigures]) -> None:
    _write(
        folder / "classes.csv",
        ("class", "pictures", "predicted", "right", "precision", "recall", "f1"),
        ((each.name, each.pictures, each.predicted, each.right, *shown(each)) for each in classes),
    )


def shown(figures: ClassFigures) -> tuple[float | None, float | None, float | None]:
    """Precision, recall and F1 of a class. None stands for a share of no pictures."""
    return (
        figures.precision if figures.predicted else None,
        figures.recall if figures.pictures else None,
        figures.f1 if figures.pictures else None,
    )


def write_figures(folder: Path, figures: dict[str, Any]) -> None:
    text = json.dumps(figures, ensure_ascii=False, indent=2)
    (folder / "figures.json").write_text(text + "\n", encoding="utf-8")


def _write_confusion(path: Path, judged: Sequence[Judged]) -> None:
    """A row for each class and a column for each label."""
    counts = accuracy.confusion(judged)
    rows = sorted({name for name, _ in counts})
    columns = sorted({label for _, label in counts})
    lines = ([name, *(counts[name, label] for label in columns)] for name in rows)
    _write(path, ["class", *columns], lines)


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(map(guarded, columns))
        writer.writerows([guarded(cell) for cell in row] for row in rows)


def share_figures(share: Share) -> dict[str, Any]:
    low, high = share.interval
    return {**asdict(share), "share": share.share, "low": low, "high": high}


def _comparison(comparison: Comparison) -> dict[str, Any]:
    names = ("pictures", "both_right", "only_first", "only_second", "neither", "p_value")
    different = {"different_labels": len(comparison.differences)}
    return {name: getattr(comparison, name) for name in names} | different
