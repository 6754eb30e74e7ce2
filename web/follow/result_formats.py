"""Items as lines of a stream, JSON Lines or CSV, and the choice between them by `Accept`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from pydantic_core import to_json
from werkzeug.datastructures import MIMEAccept

from shared.errors import NotAcceptable
from shared.jobs import Durations, Item, ItemState, Outcome, Prediction
from web.schemas.results import MEDIA_TYPES, ResultFormat, embedding_text

#: Signs that start a formula in a spreadsheet, also in their wide forms.
_SIGNS = r"[=+\-@\uff1d\uff0b\uff0d\uff20]"

#: A text that a spreadsheet may take for a formula. Some skip white space before the sign.
_FORMULA = re.compile(rf"[\t\r\n]|[\s\x00-\x1f\u200b\ufeff]*{_SIGNS}")

#: The place inside a text where a formula would start, if a spreadsheet splits cells at another
#: separator than the comma. It ignores our quotes then.
_INNER_FORMULA = re.compile(rf'([;|\t\r\n][\s"]*)(?={_SIGNS})')

_CSV_HEAD = (
    *("index", "name", "custom_id", "state", "label", "probability", "class_id"),
    *("error_code", "error_message", "model_version", "cache_hit"),
    *("queue_ms", "preprocess_ms", "inference_ms"),
)

_NOTHING_YET = Outcome(state=ItemState.QUEUED)


class LineFormat(NamedTuple):
    """How the lines of a stream are written."""

    head: Callable[[int], bytes]  #: The first line, for the job's `top_k`.
    lines: Callable[[Sequence[Item], int], bytes]  #: Lines for items, and the job's `top_k`.


def accepted(accept: MIMEAccept) -> str:
    """The media type that a client prefers. Raises NotAcceptable if it accepts none."""
    if not accept:
        return "application/json"
    best: str | None = accept.best_match(MEDIA_TYPES)
    if best is None:
        raise NotAcceptable(f"Accept: results can be sent as {', '.join(MEDIA_TYPES)}.")
    return best


def item_json(item: Item, *, embeddings: bool = False) -> bytes:
    """An item as ItemSchema serialises it, in a quarter of the time. A stream has many items.

    With `embeddings`, an item that has an embedding gets a field more.
    """
    outcome = item.outcome or _NOTHING_YET
    label, below_threshold, labels = outcome.verdict(item.min_score)
    return to_json(
        {
            "index": item.index,
            "name": item.name,
            "custom_id": item.custom_id,
            "state": item.state.value,
            "label": label,
            "labels": labels,
            "below_threshold": below_threshold,
            "predictions": [
                {"class_id": class_id, "class_name": name, "probability": probability}
                for class_id, name, probability in outcome.predictions
            ],
            "model_version": outcome.model_version,
            "cache_hit": outcome.cache_hit,
            "durations": outcome.durations and vars(outcome.durations),
            "error": outcome.error and vars(outcome.error),
            **({"embedding": embedding_text(outcome)} if embeddings and outcome.embedding else {}),
        }
    )


def _json_lines(items: Sequence[Item], top_k: int) -> bytes:
    return b"".join(item_json(item, embeddings=True) + b"\n" for item in items)


def _csv_head(top_k: int) -> bytes:
    more = [f"{column}_{k}" for k in range(2, top_k + 1) for column in ("label", "probability")]
    return _table([(*_CSV_HEAD, *more, "below_threshold", "label_count")])


def _csv_lines(items: Sequence[Item], top_k: int) -> bytes:
    return _table(_cells(item, top_k) for item in items)


def _table(rows: Iterable[Iterable[object]]) -> bytes:
    """Rows as RFC 4180 defines them. Python's csv module cannot choose which cells get quotes."""
    return "".join(",".join(map(str, row)) + "\r\n" for row in rows).encode()


def _cells(item: Item, top_k: int) -> list[object]:
    outcome = item.outcome or _NOTHING_YET
    error = outcome.error
    label, below_threshold, labels = outcome.verdict(item.min_score)
    predictions: list[Prediction | None] = [*outcome.predictions]
    predictions += [None] * (top_k - len(predictions))
    best, *others = predictions
    cells: list[object] = [item.index, _text(item.name), _text(item.custom_id), item.state]
    cells += (_common_text(label), *((best.probability, best.class_id) if best else ("", "")))
    cells += (error.code, _text(error.message)) if error else ("", "")
    cells += (_common_text(outcome.model_version), _truth(outcome.cache_hit))
    cells += _milliseconds(outcome.durations)
    for each in others:
        cells += (_common_text(each.class_name), each.probability) if each else ("", "")
    return [*cells, _truth(below_threshold), len(labels)]


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _milliseconds(durations: Durations | None) -> tuple[object, ...]:
    if durations is None:
        return ("", "", "")
    return (durations.queue_ms, durations.preprocess_ms, durations.inference_ms)


def _text(text: str | None) -> str:
    """A cell in quotes, with an apostrophe where a spreadsheet could start a formula."""
    if not text:
        return ""
    # Hostile names consist of such places. `sub` takes four times as long for them.
    pieces = _INNER_FORMULA.split(text)
    pieces[1::2] = [f"{place}'" for place in pieces[1::2]]
    safe = "".join(pieces).replace('"', '""')
    return f'"\'{safe}"' if _FORMULA.match(text) else f'"{safe}"'


#: The same for texts that occur in many rows.
_common_text = lru_cache(maxsize=4096)(_text)


LINE_FORMATS = {
    ResultFormat.JSONL: LineFormat(head=lambda top_k: b"", lines=_json_lines),
    ResultFormat.CSV: LineFormat(head=_csv_head, lines=_csv_lines),
}
