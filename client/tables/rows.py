"""A row of a table. It is nested in JSON Lines, and has one value for each column elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from ..api.records import Item

Row = Mapping[str, Any]

#: The column of embeddings, which a table has only if they were asked for.
EMBEDDING = "embedding"


def row(item: Item, **leading: Any) -> Row:
    """The nested row of an item, after the columns in `leading`."""
    more = {EMBEDDING: list(item.embedding)} if item.embedding else {}
    return leading | {
        "state": item.state,
        "label": item.label or None,
        "labels": list(item.labels),
        "below_threshold": item.below_threshold,
        "predictions": [asdict(each) for each in item.predictions],
        "error": item.error and asdict(item.error),
        "model_version": item.model_version,
        "cache_hit": item.cache_hit,
        "durations": item.durations and asdict(item.durations),
        **more,
    }


def flat_columns(leading: Iterable[str], top_k: int, *, with_threshold: bool = False) -> list[str]:
    """The columns of a flat table. `with_threshold` adds two that say which labels hold."""
    names = [*leading, "state", "label", "probability", "class_id", "error_code", "error_message"]
    names += ["model_version", "cache_hit", "queue_ms", "preprocess_ms", "inference_ms"]
    names += [f"{name}_{k}" for k in range(2, top_k + 1) for name in ("label", "probability")]
    return [*names, "below_threshold", "label_count"] if with_threshold else names


def flat(nested: Row) -> Row:
    """A nested row with one value for each column. Columns without a value are left out."""
    groups = ("predictions", "error", "durations", "labels")
    cells = {name: value for name, value in nested.items() if name not in groups}
    if error := nested["error"]:
        cells |= {"error_code": error["code"], "error_message": error["message"]}
    cells |= nested["durations"] or {}
    for rank, each in enumerate(nested["predictions"], start=1):
        suffix = "" if rank == 1 else f"_{rank}"
        cells |= {f"label{suffix}": each["class_name"], f"probability{suffix}": each["probability"]}
        if rank == 1:
            cells["class_id"] = each["class_id"]
    if nested.get("below_threshold"):  # rows of earlier releases do not say it
        cells["label"] = None
    if "labels" in nested:
        cells["label_count"] = len(nested["labels"])
    return cells
