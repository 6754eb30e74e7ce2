"""Requests that bring pictures."""

from __future__ import annotations

from typing import Annotated

from flask_openapi import FileStorage
from pydantic import FailFast, Field

from shared.jobs import PART_SIZE, Lane
from web.schemas.job import JobPath
from web.schemas.schema import DEFAULT_TOP_K, MinScore, Request, TopK, Unsaid, Wait

#: SHA-256, hex, in lower case.
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

#: Your own name for a picture.
CustomId = Annotated[str, Field(max_length=128)]

#: `shared.addresses.webhook_address` checks it.
Webhook = Annotated[
    str,
    Field(description="Address that gets a webhook when the job ends, if webhooks are enabled."),
]


Thumbnails = Annotated[
    bool, Field(description="Keep a thumbnail of each picture as long as the results.")
]

#: The answer has it as text.
Embeddings = Annotated[
    bool,
    Field(
        description="Give the embedding of each picture, if the model has one: numbers that are "
        "close for similar pictures."
    ),
]


class ClassifyQuery(Request):
    top_k: TopK = DEFAULT_TOP_K
    min_score: MinScore = 0
    embeddings: Embeddings = False
    wait: Wait = None


class ClassifyForm(Request):
    file: Annotated[FileStorage, Field(description="The picture.")]
    top_k: TopK | Unsaid = None
    min_score: MinScore | Unsaid = None
    embeddings: Embeddings | Unsaid = None
    wait: Wait = None


class SubmitQuery(Request):
    lane: Annotated[
        Lane | Unsaid,
        Field(
            description="The same as in the form. If it stands here and the lane is full, the "
            "request is refused before the upload."
        ),
    ] = None
    top_k: Annotated[
        TopK | Unsaid,
        Field(description="Number of predictions for each picture, if the body is an archive."),
    ] = None
    min_score: Annotated[
        MinScore | Unsaid,
        Field(description="The same as in the form, if the body is an archive."),
    ] = None
    webhook: Webhook | Unsaid = None
    thumbnails: Thumbnails = False
    embeddings: Embeddings = False


class SubmitForm(Request):
    files: Annotated[
        list[FileStorage],
        Field(min_length=1, description="The pictures, or one .zip, .tar or .tar.gz of them."),
    ]
    top_k: TopK = DEFAULT_TOP_K
    min_score: MinScore = 0
    lane: Annotated[
        Lane | Unsaid,
        Field(description="Default: `interactive` for one picture, `bulk` for more."),
    ] = None
    custom_id: Annotated[
        list[CustomId],
        Field(description="Your own names for the pictures: none, or as many as files."),
    ] = []
    webhook: Webhook | Unsaid = None
    thumbnails: Thumbnails = False
    embeddings: Embeddings = False


class OpenRequest(Request):
    """A job whose pictures follow in parts."""

    total: Annotated[int, Field(ge=1, le=1_000_000, description="Number of pictures.")]
    top_k: TopK = DEFAULT_TOP_K
    min_score: MinScore = 0
    lane: Annotated[Lane | None, Field(description="Default: `bulk`.")] = None
    webhook: Webhook | None = None
    thumbnails: Thumbnails = False
    embeddings: Embeddings = False
    # It stops at the first bad digest: a list of errors for a million would take a gigabyte.
    digests: Annotated[
        list[Digest] | None,
        FailFast(),
        Field(
            max_length=1_000_000,
            description="SHA-256 of each picture, hex. The answer says which need no upload.",
        ),
    ] = None


def largest_open_request(pictures: int) -> int:
    """Bytes of the longest OpenRequest for so many pictures."""
    # A digest has 64 characters; quotes, a comma and an indent come with it.
    return 64 * 2**10 + 80 * pictures


class PartPath(JobPath):
    number: Annotated[
        int, Field(ge=0, description=f"From 0. Part n holds the items from {PART_SIZE} * n.")
    ]


class PartEntry(Request):
    """One picture of a part."""

    name: str
    custom_id: CustomId | None = None
    digest: Annotated[
        Digest | None,
        Field(description="Instead of a file: answer this picture from the result cache."),
    ] = None


class RawEntry(PartEntry):
    """One picture of a part whose body is not a form."""

    size: Annotated[int, Field(ge=0, strict=True)] | None = None


class PartForm(Request):
    files: Annotated[list[FileStorage], Field(description="Pictures, in the order of the items.")]
    items: Annotated[
        str | Unsaid,
        Field(
            description="A JSON list with an entry for each item: `name`, `custom_id`, `digest`. "
            "An item with a digest has no file; the other items take the files in order.",
        ),
    ] = None
