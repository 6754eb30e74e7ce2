"""Records as Redis stores them, and as the rest of the code uses them: fields to objects and back.

Records outlive a release, so a field that is missing in an older record has a default here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from shared.jobs import (
    PART_SIZE,
    Item,
    ItemState,
    Job,
    JobOptions,
    JobState,
    Lane,
    NewItem,
    NewJob,
    OpenJob,
    Outcome,
    part_size,
)

T = TypeVar("T")

Fields = dict[Any, Any]  #: The fields of a hash, in the type that redis-py takes.


def text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def outcome_field(position: int) -> str:
    """The field of a part's hash with the outcome of the item at this position in the part."""
    return f"r{position}"


def embedding_field(position: int) -> str:
    """The field of a part's hash with the embedding of the item at this position in the part."""
    return f"e{position}"


def no_embedding(numbers: int) -> bytes:
    """What stands in that field until a worker writes it: as many bytes, all of them no numbers.

    So the memory for embeddings is taken when a part is accepted, and not when it is full.
    """
    return b"\xff" * (2 * numbers)


# To Redis


def job_fields(job: NewJob, now: float, ttl: int) -> Fields:
    """The fields of a job whose items are all here. `now` is Unix seconds, `ttl` seconds."""
    outcomes = [item.outcome for item in job.items if item.outcome]
    succeeded = [outcome for outcome in outcomes if outcome.state is ItemState.SUCCEEDED]
    fields: Fields = {
        "owner": job.owner,
        "lane": job.lane,
        "top_k": job.top_k,
        "total": len(job.items),
        "state": JobState.QUEUED,
        "succeeded": len(succeeded),
        "failed": len(outcomes) - len(succeeded),
        "cached": len(succeeded),
        "created_at": now,
        "expires_at": now + ttl,
        **_options(job),
    }
    if version := job.model_version or (succeeded and succeeded[-1].model_version):
        fields["model_version"] = version
    if not job.pending:
        fields |= {"state": JobState.COMPLETED, "started_at": now, "finished_at": now}
    return fields


def open_job_fields(job: OpenJob, now: float, ttl: int) -> Fields:
    """The fields of a job whose parts are still to come."""
    return {
        "owner": job.owner,
        "lane": job.lane,
        "top_k": job.top_k,
        "total": job.total,
        "state": JobState.RECEIVING,
        "received": 0,
        "succeeded": 0,
        "failed": 0,
        "cached": 0,
        "created_at": now,
        "expires_at": now + ttl,
        **_options(job),
        **({"model_version": job.model_version} if job.model_version else {}),
        **({"skipped": json.dumps(dict(job.skipped))} if job.skipped else {}),
    }


def part_fields(
    items: Sequence[NewItem], top_k: int, now: float, trace: str, options: JobOptions
) -> Fields:
    """The fields of a part. `trace` is the `traceparent` of the request that brought it."""
    numbers = options.embeddings
    spec = {
        "top_k": top_k,
        "accepted_at": now,
        "trace": trace,
        **({"thumbnails": True, "sent": _sent(items)} if options.thumbnails else {}),
        "items": [[item.name, item.custom_id, item.digest] for item in items],
    }
    outcomes = {
        outcome_field(k): item.outcome.to_json() for k, item in enumerate(items) if item.outcome
    }
    # Names outside ASCII as they are: escapes would take up to six times as much of Redis's memory.
    text = json.dumps(spec, ensure_ascii=False, separators=(",", ":"))
    fields = {"spec": text, "pending": len(items) - len(outcomes), **outcomes}
    if numbers:
        # A picture that was refused gets none.
        fields |= {
            embedding_field(k): item.outcome.embedding if item.outcome else no_embedding(numbers)
            for k, item in enumerate(items)
            if not item.outcome or item.outcome.embedding
        }
    return fields


def _sent(items: Sequence[NewItem]) -> list[int]:
    """Positions of the items with an outcome whose bytes came all the same."""
    return [k for k, item in enumerate(items) if item.outcome and item.sent]


def _options(job: JobOptions) -> Fields:
    """Fields that a job has only if it needs them."""
    return {
        **({"client": job.client} if job.client else {}),
        **({"min_score": job.min_score} if job.min_score else {}),
        **({"weight": job.weight} if job.weight != 1 else {}),
        **({"thumbnails": 1} if job.thumbnails else {}),
        **({"embeddings": job.embeddings} if job.embeddings else {}),
        **({"webhook": job.webhook} if job.webhook else {}),
    }


# From Redis


def job(job_id: str, fields: Mapping[str, str]) -> Job:
    return Job(
        id=job_id,
        owner=fields["owner"],
        lane=Lane(fields["lane"]),
        state=JobState(fields["state"]),
        top_k=int(fields["top_k"]),
        total=int(fields["total"]),
        opened="received" in fields,
        received=int(fields.get("received", fields["total"])),
        succeeded=int(fields["succeeded"]),
        failed=int(fields["failed"]),
        cancelled=int(fields.get("cancelled", 0)),
        cached=int(fields["cached"]),
        model_version=fields.get("model_version") or None,
        created_at=float(fields["created_at"]),
        started_at=_number(fields.get("started_at"), float),
        finished_at=_number(fields.get("finished_at"), float),
        expires_at=float(fields["expires_at"]),
        client=fields.get("client", ""),
        weight=int(fields.get("weight", 1)),
        first_round=_number(fields.get("first_turn"), int),
        next_round=_number(fields.get("next_turn"), int),
        first_due=_number(fields.get("first_due"), float),
        webhook=fields.get("webhook"),
        min_score=float(fields.get("min_score", 0)),
        thumbnails="thumbnails" in fields,
        embeddings=int(fields.get("embeddings", 0)),
        skipped=json.loads(fields.get("skipped", "{}")),
    )


def _number(value: str | None, kind: Callable[[str], T]) -> T | None:
    return None if value is None else kind(value)


def items(
    number: int, fields: Mapping[bytes, bytes], job_state: str, min_score: float = 0
) -> list[Item]:
    """The items of part `number` from its record; an empty list if there is no record."""
    if b"spec" not in fields:
        return []
    unfinished = _unfinished(job_state)
    read = []
    for k, (name, custom_id, *_) in enumerate(json.loads(fields[b"spec"])["items"]):
        result = fields.get(outcome_field(k).encode())
        outcome = Outcome.from_json(result) if result else None
        if outcome and (embedding := fields.get(embedding_field(k).encode())):
            outcome = _embedded(outcome, embedding)
        read.append(
            Item(
                index=number * PART_SIZE + k,
                name=name,
                custom_id=custom_id,
                outcome=outcome,
                state=outcome.state if outcome else unfinished,
                min_score=min_score,
            )
        )
    return read


def _embedded(outcome: Outcome, embedding: bytes) -> Outcome:
    """The outcome with its embedding, if a worker has written one."""
    is_written = embedding != no_embedding(len(embedding) // 2)
    return replace(outcome, embedding=embedding) if is_written else outcome


def missing_items(number: int, total: int, job_state: str) -> list[Item]:
    """The items of a part that has not arrived.

    Gives an empty list for a completed job: the part arrived then, and has expired since.
    """
    if job_state == JobState.COMPLETED:
        return []
    state = _unfinished(job_state)
    first = number * PART_SIZE
    return [
        Item(index=index, name="", custom_id=None, outcome=None, state=state)
        for index in range(first, first + part_size(total, number))
    ]


def _unfinished(job_state: str) -> ItemState:
    """The state of an item without an outcome, in a job of this state."""
    return ItemState.CANCELLED if job_state == JobState.CANCELLED else ItemState.QUEUED


def digests(spec: bytes) -> list[str]:
    """The digests of a part's pictures, in order."""
    return [item[2] for item in json.loads(spec)["items"]]


def sent_digest(position: int, spec: bytes, outcome: bytes | None) -> str | None:
    """The digest of an item whose bytes came; None if its part has only the digest.

    Without its bytes, an item is answered by the result cache. An earlier release did not say which
    of these items had been sent, so they count as not sent.
    """
    fields = json.loads(spec)
    items, sent = fields["items"], fields.get("sent", ())
    if position >= len(items):
        return None
    if outcome and Outcome.from_json(outcome).cache_hit and position not in sent:
        return None
    return str(items[position][2])
