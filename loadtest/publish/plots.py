"""Draws the published figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure as Picture

from loadtest.measure.pictures import TITLES
from loadtest.publish.figures import Figures, Sets

matplotlib.use("svg")
# With these two, the same figures always give the same file.
matplotlib.rcParams["svg.hashsalt"] = "image-classifier"
_METADATA = {"Date": None}

_SHARES = {
    "drained_share": "drained from the queue",
    "bulk_share": "bulk through HTTP",
    "single_share_32": "one per request, 32 clients",
    "single_share_128": "one per request, 128 clients",
}


def throughput(sets: Sets, path: Path) -> None:
    """Draw the shares of the limit: medians, with whiskers from the worst to the best round."""
    shown = [
        (f"{title}, {TITLES[name]}", figures.values[share])
        for share, title in _SHARES.items()
        for name, figures in sets.figures.items()
        if figures.values.get(share)
    ]
    labels, values = zip(*shown, strict=True)
    bars(labels, values, "share of the limit", path)


def bars(labels: Sequence[str], values: Sequence[Sequence[float]], label: str, path: Path) -> None:
    """Draw one bar for each list of values: the median, with whiskers over the range."""
    picture, axes = _axes()
    middle = [sorted(each)[len(each) // 2] for each in values]
    below = [m - min(each) for m, each in zip(middle, values, strict=True)]
    above = [max(each) - m for m, each in zip(middle, values, strict=True)]
    axes.barh(range(len(labels)), middle, xerr=[below, above], capsize=3, color="#4878a8")
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.axvline(1.0, color="#888888", linestyle="--", linewidth=1)
    axes.set_xlim(0, 1.1)
    axes.set_xlabel(label)
    _save(picture, path)


def latency(figures: Figures, path: Path) -> None:
    """Draw p50 and p95 of one picture over the load."""
    picture, axes = _axes()
    loads = [load for load in (30, 60, 90) if figures.values.get(f"p50_at_{load}")]
    for name in ("p95", "p50"):
        times = [figures.median(f"{name}_at_{load}") for load in loads]
        axes.plot(loads, times, marker="o", label=name)
    axes.axhline(figures.median("idle_ms"), color="#888888", linestyle="--", label="idle, median")
    axes.set_xlabel("load, % of the peak (open loop)")
    axes.set_ylabel("one picture, ms")
    axes.set_ylim(bottom=0)
    axes.legend()
    _save(picture, path)


def _axes() -> tuple[Picture, Any]:
    picture = Picture(figsize=(7, 3.2), layout="constrained")
    axes = picture.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return picture, axes


def _save(picture: Picture, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, metadata=_METADATA)
