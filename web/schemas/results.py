"""Results of pictures, and the requests that read them."""

from __future__ import annotations

import base64
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from shared.jobs import Item, ItemState, Outcome
from web.schemas.job import JobSchema
from web.schemas.schema import Request, Schema, Unsaid

#: Items in a page of results: by default, and at most.
PAGE_ITEMS = 100
MAX_PAGE_ITEMS = 1000


class ResultFormat(StrEnum):
    JSON = "json"  #: A page: one object.
    JSONL = "jsonl"  #: A stream: one object a line.
    CSV = "csv"  #: A stream: a table.


#: Formats by media type. Of two that a client likes equally, the first is used.
MEDIA_TYPES = {
    "application/json": ResultFormat.JSON,
    "application/jsonl": ResultFormat.JSONL,
    "application/x-ndjson": ResultFormat.JSONL,
    "text/csv": ResultFormat.CSV,
}


class ResultsQuery(Request):
    offset: Annotated[int, Field(ge=0, description="Index of the first item.")] = 0
    limit: Annotated[
        int | Unsaid,
        Field(
            ge=1,
            description=f"Most items. A page has {PAGE_ITEMS} by default and {MAX_PAGE_ITEMS} at "
            "most; a stream has all by default.",
        ),
    ] = None
    format: Annotated[
        ResultFormat | Unsaid, Field(description="Wins over the header `Accept`.")
    ] = None
    state: Annotated[
        ItemState | Unsaid, Field(description="For streams: only the items in this state.")
    ] = None


class EventsQuery(Request):
    last_event_id: Annotated[
        int | Unsaid,
        Field(ge=0, le=2**31, description="Continue after this event. The header wins."),
    ] = None
    items: Annotated[bool, Field(description="Whether to send an event for each item.")] = True


class EventsHeader(Schema):
    last_event_id: Annotated[
        int | Unsaid,
        Field(alias="Last-Event-ID", ge=0, le=2**31, description="As an EventSource sends it."),
    ] = None


class Prediction(Schema):
    class_id: int
    class_name: str
    probability: float


class Durations(Schema):
    queue_ms: Annotated[float, Field(description="From acceptance to the start of its batch.")]
    preprocess_ms: Annotated[float, Field(description="Decoding and resizing the picture.")]
    inference_ms: Annotated[float, Field(description="The model's run over the whole batch.")]


class ItemError(Schema):
    code: Annotated[str, Field(description="Stable: programs can rely on it.")]
    message: str


_Label = Annotated[
    str | None,
    Field(
        description="The most probable label. It is null if there is none, or if no label reaches "
        "its threshold."
    ),
]
_Labels = Annotated[
    list[str],
    Field(
        description="The labels that reach their threshold, the most probable one first: at most "
        "one, unless the model may give several labels."
    ),
]
_BelowThreshold = Annotated[
    bool,
    Field(
        description="Whether the picture is classified and no label reaches its threshold: that of "
        "the model and `min_score`."
    ),
]


class Classification(Schema):
    """The answer for one picture."""

    embedding: Annotated[
        str | Unsaid,
        Field(
            exclude_if=lambda value: value is None,
            description="Only with `embeddings`: float16 numbers, little-endian, as base64.",
        ),
    ] = None

    job_id: str
    name: str
    label: _Label
    labels: _Labels
    below_threshold: _BelowThreshold
    predictions: list[Prediction]
    model_version: str | None
    cache_hit: bool
    durations: Annotated[
        Durations | None, Field(description="Null if the answer is from the result cache.")
    ]

    @classmethod
    def of(cls, job_id: str, name: str, outcome: Outcome, min_score: float) -> Classification:
        embedding = embedding_text(outcome) if outcome.embedding else None
        fields = _outcome_fields(outcome, min_score)
        return cls(job_id=job_id, name=name, embedding=embedding, **fields)


class ItemSchema(Schema):
    """One picture of a job."""

    index: int
    name: str
    custom_id: str | None
    state: ItemState
    label: _Label
    labels: _Labels
    below_threshold: _BelowThreshold
    predictions: Annotated[list[Prediction], Field(description="The most probable one first.")]
    model_version: str | None
    cache_hit: bool
    durations: Durations | None
    error: ItemError | None

    @classmethod
    def of(cls, item: Item) -> ItemSchema:
        error = item.outcome and item.outcome.error
        return cls(
            index=item.index,
            name=item.name,
            custom_id=item.custom_id,
            state=item.state,
            error=error and ItemError(**vars(error)),
            **_outcome_fields(item.outcome or Outcome(state=item.state), item.min_score),
        )


class Page(Schema):
    """Items in input order. Those that are not yet classified are `queued`."""

    job: JobSchema
    items: list[ItemSchema]
    next_offset: Annotated[
        int | None, Field(description="`offset` of the next page; null on the last page.")
    ]


def embedding_text(outcome: Outcome) -> str:
    """The embedding as JSON has it. numpy.frombuffer(b64decode(text), "<f2") gives the numbers."""
    return base64.b64encode(outcome.embedding).decode()


def _outcome_fields(outcome: Outcome, min_score: float) -> dict[str, Any]:
    label, below_threshold, labels = outcome.verdict(min_score)
    return {
        "label": label,
        "labels": list(labels),
        "below_threshold": below_threshold,
        "predictions": [Prediction(**each._asdict()) for each in outcome.predictions],
        "model_version": outcome.model_version,
        "cache_hit": outcome.cache_hit,
        "durations": outcome.durations and Durations(**vars(outcome.durations)),
    }
