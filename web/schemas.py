"""Requests and answers, once: these objects validate, and make the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, ClassVar

from flask_openapi import FileStorage
from pydantic import BaseModel, ConfigDict, FailFast, Field
from pydantic.json_schema import SkipJsonSchema

from shared.jobs import MAX_TOP_K, PART_SIZE, Item, ItemState, Job, JobState, Lane, Outcome
from shared.records.backlog import Outlook
from shared.model_info import ModelInfo
from shared.records.recovery import DeadLetter
from web.follow.result_formats import ResultFormat

#: Items in a page of results: unless the client says, and at most.
PAGE_ITEMS = 100
MAX_PAGE_ITEMS = 1000

DEFAULT_TOP_K = 5
TopK = Annotated[
    int, Field(ge=1, le=MAX_TOP_K, description="Predictions for each picture, best first.")
]
#: A field that is left out. Only JSON has a null that could be sent; a form or a query has none.
Unsaid = SkipJsonSchema[None]
Wait = Annotated[
    float | Unsaid,
    Field(ge=0, description="Seconds to wait for the end; `Prefer: wait=n` says the same."),
]


class Schema(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class Request(Schema):
    """Refuses what it does not know: a misspelt option must not be ignored."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    @cache
    def model_json_schema(  # type: ignore[override]
        cls, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Made once: flask-openapi asks for it at every request, a millisecond each time."""
        return super().model_json_schema(*args, **kwargs)


class JobPath(Request):
    job_id: Annotated[str, Field(description="As answered by `POST /jobs`.")]


class ClassifyQuery(Request):
    top_k: TopK = DEFAULT_TOP_K
    wait: Wait = None


class ClassifyForm(Request):
    file: Annotated[FileStorage, Field(description="The picture.")]
    top_k: TopK | Unsaid = None


#: An address that is checked by shared.webhook_address.
Webhook = Annotated[
    str, Field(description="Address that is told of the job's end, where webhooks are enabled.")
]


class PartPath(JobPath):
    number: Annotated[
        int, Field(ge=0, description=f"From 0; part n holds items {PART_SIZE}n and on.")
    ]


#: SHA-256, hex, in lower case.
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class SubmitQuery(Request):
    lane: Annotated[
        Lane | Unsaid,
        Field(description="As in the form; said here, a full lane refuses before the upload."),
    ] = None
    top_k: Annotated[TopK | Unsaid, Field(description="Of an archive that is the body.")] = None
    webhook: Webhook | Unsaid = None


class SubmitForm(Request):
    files: Annotated[
        list[FileStorage],
        Field(min_length=1, description="The pictures, or one .zip, .tar or .tar.gz of them."),
    ]
    top_k: TopK = DEFAULT_TOP_K
    lane: Annotated[
        Lane | Unsaid,
        Field(description="`interactive` for one picture and `bulk` for more, unless you say."),
    ] = None
    custom_id: Annotated[
        list[Annotated[str, Field(max_length=128)]],
        Field(description="Your own name for each picture: none, or as many as files."),
    ] = []
    webhook: Webhook | Unsaid = None


class OpenRequest(Request):
    """A job whose pictures follow in parts."""

    total: Annotated[int, Field(ge=1, le=1_000_000, description="Pictures.")]
    top_k: TopK = DEFAULT_TOP_K
    lane: Annotated[Lane | None, Field(description="`bulk` unless you say.")] = None
    webhook: Webhook | None = None
    # The first fault is enough: a list of a million would take a gigabyte.
    digests: Annotated[
        list[Digest] | None,
        FailFast(),
        Field(
            max_length=1_000_000,
            description="SHA-256 of each picture, hex: the answer tells which need no upload.",
        ),
    ] = None


class PartEntry(Request):
    """One picture of a part."""

    name: str
    custom_id: Annotated[str | None, Field(max_length=128)] = None
    digest: Annotated[
        Digest | None,
        Field(description="In place of a file: answer it from what is known."),
    ] = None


class PartForm(Request):
    files: Annotated[list[FileStorage], Field(description="Pictures, in the order of the items.")]
    items: Annotated[
        str | Unsaid,
        Field(
            description="A JSON list with an entry for each item: `name`, `custom_id`, `digest`. "
            "One with a digest has no file; the others take the files in order.",
        ),
    ] = None


class WaitQuery(Request):
    wait: Wait = None


class ResultsQuery(Request):
    offset: Annotated[int, Field(ge=0, description="First item.")] = 0
    limit: Annotated[
        int | Unsaid,
        Field(
            ge=1,
            description=f"Most items: {PAGE_ITEMS} in a page unless you say, at most "
            f"{MAX_PAGE_ITEMS}; a stream has all unless you say.",
        ),
    ] = None
    format: Annotated[
        ResultFormat | Unsaid, Field(description="Wins over the header `Accept`.")
    ] = None
    state: Annotated[
        ItemState | Unsaid, Field(description="Of a stream: only the items in this state.")
    ] = None


class EventsQuery(Request):
    last_event_id: Annotated[
        int | Unsaid,
        Field(ge=0, le=2**31, description="Go on after this event; the header wins."),
    ] = None
    items: Annotated[bool, Field(description="Whether finished items are told, too.")] = True


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
    queue_ms: Annotated[float, Field(description="Accepted until its micro-batch was formed.")]
    preprocess_ms: Annotated[float, Field(description="Decoding and resizing the picture.")]
    inference_ms: Annotated[float, Field(description="The model, over all that it ran with.")]


class ItemError(Schema):
    code: Annotated[str, Field(description="Stable; branch on this.")]
    message: str


class Classification(Schema):
    """The answer to one picture."""

    job_id: str
    name: str
    predictions: list[Prediction]
    model_version: str | None
    cache_hit: bool
    durations: Annotated[
        Durations | None, Field(description="None where the result cache answered.")
    ]

    @classmethod
    def of(cls, job_id: str, name: str, outcome: Outcome) -> Classification:
        return cls(job_id=job_id, name=name, **_outcome_fields(outcome))


class ItemSchema(Schema):
    """One picture of a job."""

    index: int
    name: str
    custom_id: str | None
    state: ItemState
    predictions: list[Prediction] = []
    model_version: str | None = None
    cache_hit: bool = False
    durations: Durations | None = None
    error: ItemError | None = None

    @classmethod
    def of(cls, item: Item) -> ItemSchema:
        known: dict[str, Any] = {"state": item.state}
        if item.outcome:
            error = item.outcome.error
            known |= _outcome_fields(item.outcome)
            known |= {"error": error and ItemError(**vars(error))}
        return cls(index=item.index, name=item.name, custom_id=item.custom_id, **known)


class Counts(Schema):
    total: int
    received: Annotated[int, Field(description="Of an open job: those whose part has arrived.")]
    queued: int
    succeeded: int
    failed: int
    cancelled: int
    cached: Annotated[int, Field(description="Of the succeeded, answered from the cache.")]


class JobSchema(Schema):
    """A job's record. Times are Unix seconds."""

    id: str
    state: JobState
    lane: Lane
    top_k: int
    counts: Counts
    model_version: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    expires_at: Annotated[float, Field(description="Readable at least until then.")]
    position: Annotated[
        int | None,
        Field(
            description="Images ahead of its first, about; 0 once it is worked on, null at its end."
        ),
    ]
    estimated_seconds: Annotated[
        float | None,
        Field(
            description="Until it ends, at the lane's present speed; null at its end, or unknown."
        ),
    ]

    #: Fields of a Job that are told as they are.
    _SAME: ClassVar[tuple[str, ...]] = (
        *("id", "state", "lane", "top_k", "model_version"),
        *("created_at", "started_at", "finished_at", "expires_at"),
    )

    @classmethod
    def of(cls, job: Job, outlook: Outlook) -> JobSchema:
        counts = {name: getattr(job, name) for name in Counts.model_fields}
        same = {name: getattr(job, name) for name in cls._SAME}
        seconds = outlook.seconds
        return cls(
            counts=Counts(**counts),
            position=outlook.position,
            estimated_seconds=None if seconds is None else round(seconds, 1),
            **same,
        )


class OpenedJob(Schema):
    """A job that waits for its parts."""

    job: JobSchema
    part_size: int = PART_SIZE
    known: Annotated[
        list[int], Field(description="Indexes of the pictures that need no upload, by digest.")
    ]


class PartSchema(Schema):
    """A part that is here."""

    job_id: str
    number: int
    items: int
    missing_parts: Annotated[int, Field(description="Of the job; 0 once it is complete.")]


class MissingParts(Schema):
    """What an upload that goes on still has to send."""

    total: Annotated[int, Field(description="Parts of the job.")]
    missing: Annotated[list[int], Field(description="Ascending, the first 10,000.")]


class Page(Schema):
    """Items in input order; those not yet classified are `queued`."""

    job: JobSchema
    items: list[ItemSchema]
    next_offset: Annotated[int | None, Field(description="`offset` of the next page, if any.")]


class DeadLetterPath(Request):
    letter_id: Annotated[str, Field(description="As listed by `GET /dead-letters`.")]


class DeadLetterSchema(Schema):
    """A picture that no worker survived."""

    id: str
    job_id: str
    index: Annotated[int, Field(description="Of the item in its job.")]
    name: str
    lane: Lane
    at: Annotated[float, Field(description="When it was given up on; Unix seconds.")]

    @classmethod
    def of(cls, letter: DeadLetter) -> DeadLetterSchema:
        same = {name: getattr(letter, name) for name in cls.model_fields if name != "id"}
        return cls(id=letter.member, **same)


class DeadLetters(Schema):
    dead_letters: list[DeadLetterSchema]


class ModelSchema(Schema):
    name: str
    version: Annotated[str, Field(description="Stamped on every result.")]
    weights: Annotated[str, Field(description="A file's name, or what MODEL_WEIGHTS says.")]
    weights_digest: Annotated[str, Field(description="SHA-256, hex.")]
    engine: str
    classes: int
    input_size: Annotated[int, Field(description="Side of the cropped square, in pixels.")]
    notice: Annotated[str, Field(description="To be shown with its answers; mostly empty.")]

    @classmethod
    def of(cls, info: ModelInfo) -> ModelSchema:
        return cls(**vars(info))


class Status(Schema):
    status: str


class LaneHealth(Schema):
    workers: Annotated[int, Field(description="Those that take parts now.")]
    outstanding_parts: int
    outstanding_images: int
    images_per_second: Annotated[float, Field(description="Committed, over the last seconds.")]
    estimated_seconds: Annotated[
        float | None, Field(description="Until all that waits is done; null where nothing drains.")
    ]


class Health(Schema):
    status: str
    model_version: str | None
    lanes: dict[Lane, LaneHealth]


class Problem(Schema):
    """RFC 9457, `application/problem+json`."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: Annotated[str, Field(description="Stable; branch on this.")]
    job_id: str | None = None
    indexes: Annotated[
        Sequence[int] | None,
        Field(description="With `images_needed`: items whose bytes must be sent."),
    ] = None


def _outcome_fields(outcome: Outcome) -> dict[str, Any]:
    return {
        "predictions": [Prediction(**each._asdict()) for each in outcome.predictions],
        "model_version": outcome.model_version,
        "cache_hit": outcome.cache_hit,
        "durations": outcome.durations and Durations(**vars(outcome.durations)),
    }
