"""Working on parts: a worker starts on them and commits their outcomes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from redis import Redis
from redis.client import Pipeline

from shared import clock, keys
from shared.jobs import Lane, Outcome, PartRef
from shared.message import message
from shared.records.codec import outcome_field
from shared.records.fairness import rounds
from shared.records.scripts import Script

#: A part is started this often, and then each of its images alone, before recovery gives up.
MAX_ATTEMPTS = 2

#: The field of a part's hash that marks an image as slow to decode; its position follows.
_SLOW = "slow:"

#: Images of a batch that have no more bytes than this come with its records. A script copies them
#: twice, but for a few images another round trip would take longer.
_BYTES_WITH_RECORDS = 2**20

_START = Script("start")
_COMMIT = Script("commit")
_PUT_BACK = Script("put_back")


#: Parts that are put back: usual ones, those that run alone because they may be slow, and suspects.
_Kind = Literal["", "slow", "suspect"]

#: A part that is put back, the field of its attempts, and the field of a slow image.
_Row = tuple[PartRef, str, str]


class PartWork(NamedTuple):
    """A part as a worker gets it."""

    ref: PartRef
    client: str  #: Who has sent it. A job of an older version has none: then it is empty.
    top_k: int
    accepted_at: float  #: Unix seconds.
    trace: str  #: `traceparent` of the request that brought it.
    attempt: int  #: 1 at the first.
    digests: Mapping[int, str]  #: Position in the part -> digest, of the items without an outcome.
    sizes: Mapping[int, int]  #: Position -> bytes of the image; a missing one has expired.
    images: Mapping[int, bytes]  #: Position -> image; empty if all together have many bytes.
    thumbnails: bool = False  #: Whether to keep a thumbnail of each picture.
    embeddings: int = 0  #: Numbers of the embedding that each picture gets; 0: none is asked for.
    slow: frozenset[int] = frozenset()  #: Positions of images that were slow to decode before.


class PartRecords:
    def __init__(self, redis: Redis, *, ttl_seconds: int, deadline_seconds: int) -> None:
        self._redis = redis
        self._ttl = ttl_seconds
        self._deadline = deadline_seconds

    def start(self, refs: Sequence[PartRef], lane: Lane, version: str = "") -> list[PartWork]:
        """Begin work on parts: read their records, and images of few bytes, in one round trip.

        `images` reads the other ones. `version` is the worker's model version. Leaves out a part
        that another delivery has committed meanwhile. Parts for another model version go to the
        queue of that version.
        """
        now = clock.now(self._redis)
        outstanding, outstanding_images = keys.outstanding(lane), keys.outstanding_images(lane)
        pipe = self._redis.pipeline(transaction=False)
        for ref in refs:
            _START(
                pipe,
                job=keys.job(ref.job_id),
                part=keys.part(ref.job_id, ref.number),
                images=keys.images(ref.job_id, ref.number),
                outstanding=outstanding,
                outstanding_images=outstanding_images,
                held=keys.HELD,
                ready=keys.ready(lane, version),
                ready_for_all=keys.ready(lane),
                versions=keys.versions(lane),
                name=ref.name,
                member=ref.member,
                attempts_field=ref.attempts_field,
                outcome_field="" if ref.only is None else outcome_field(ref.only),
                max_attempts=MAX_ATTEMPTS,
                now=now,
                deadline=now + self._deadline,
                most_bytes=_BYTES_WITH_RECORDS // len(refs),
                version=version,
            )
        rounds.feed(pipe, lane, deadline=now + self._deadline, taken=len(refs), versions=[version])
        works, others = [], {}
        for ref, reply in zip(refs, pipe.execute(), strict=False):
            if isinstance(reply, bytes):
                others[ref] = reply.decode()
            elif reply:
                works.append(_part_work(ref, *reply))
        self._pass_on(others, lane)
        return works

    def images(self, places: Sequence[tuple[PartRef, int]]) -> list[bytes | None]:
        """Read images, by part and position. None stands for one that has expired."""
        pipe = self._redis.pipeline(transaction=False)
        for ref, position in places:
            pipe.hget(keys.images(ref.job_id, ref.number), str(position))
        images: list[bytes | None] = pipe.execute()
        return images

    def feed(self, lane: Lane, versions: Iterable[str] = ()) -> None:
        """Queue the parts whose round has come, as each start does.

        Recovery calls this in case all messages of the lane were lost.
        """
        deadline = clock.now(self._redis) + self._deadline
        rounds.feed(self._redis, lane, deadline=deadline, taken=0, versions=versions)

    def commit(
        self, pipe: Pipeline, ref: PartRef, lane: Lane, outcomes: Mapping[int, Outcome]
    ) -> None:
        """Add a part's outcomes, by position, to a pipeline; each takes effect at most once.

        The reply is the number of outcomes that were new.
        """
        now = clock.now(self._redis)
        versions = [each.model_version for each in outcomes.values() if each.model_version]
        _COMMIT(
            pipe,
            [(k, each.state, each.to_json(), each.embedding) for k, each in outcomes.items()],
            job=keys.job(ref.job_id),
            part=keys.part(ref.job_id, ref.number),
            images=keys.images(ref.job_id, ref.number),
            outstanding=keys.outstanding(lane),
            outstanding_images=keys.outstanding_images(lane),
            held=keys.HELD,
            drained=keys.drained(lane, int(now)),
            finished=keys.finished(ref.job_id),
            job_id=ref.job_id,
            number=ref.number,
            member=ref.member,
            whole=int(ref.only is None),
            model_version=versions[0] if versions else "",
            now=now,
            ttl=self._ttl,
        )

    def _pass_on(self, parts: Mapping[PartRef, str], lane: Lane) -> None:
        """Queue parts for the workers of their model version."""
        if not parts:
            return
        deadline = clock.now(self._redis) + self._deadline
        pipe = self._redis.pipeline(transaction=False)
        for ref, version in parts.items():
            # Recovery looks after the queue of each version that is known, and it may just have
            # forgotten this one.
            pipe.zadd(keys.versions(lane), {version: 0}, nx=True)
            _put_back(pipe, [(ref, "", "")], lane, version, deadline)
        pipe.execute()

    def put_back(
        self,
        parts: Mapping[PartRef, Iterable[int]],
        lane: Lane,
        version: str = "",
        clients: Mapping[PartRef, str] = {},
        alone: Collection[PartRef] = (),
    ) -> None:
        """Queue parts again that have no outcome yet for some images.

        Their start does not count as an attempt. An outage may have prevented it. The parts wait
        for a round of their client. The positions of a part are its images that were slow to
        decode. A part that has any is then alone in its batch, and so are those of `alone`. Such
        parts have rounds of their own.
        `version` is the worker's model version. `clients` are those of the parts, as far as they
        are known.
        """
        deadline = clock.now(self._redis) + self._deadline
        pipe = self._redis.pipeline(transaction=False)
        slow = {ref: [f"{_SLOW}{k}" for k in positions] for ref, positions in parts.items()}
        rows: dict[_Kind, list[_Row]] = {"": [], "slow": [], "suspect": []}
        for ref in parts:
            first, *more = slow[ref] or [""]
            kind: _Kind = "slow" if first or ref in alone else ""
            rows["suspect" if ref.only is not None else kind] += [
                (ref, ref.attempts_field, first),
                *((ref, "", each) for each in more),
            ]
        for kind, of_kind in rows.items():
            if of_kind:
                _put_back(pipe, of_kind, lane, version, deadline, clients, kind=kind)
        pipe.execute()


def _put_back(
    pipe: Pipeline,
    rows: Sequence[_Row],
    lane: Lane,
    version: str,
    deadline: float,
    clients: Mapping[PartRef, str] = {},
    *,
    kind: _Kind = "",
) -> None:
    """Add to a pipeline: the part of each row is queued again."""
    messages = {
        ref: message(lane, [ref], version=version, alone=bool(kind), client=clients.get(ref, ""))
        for ref, *_ in rows
    }
    _PUT_BACK(
        pipe,
        [
            (
                keys.job(ref.job_id),
                keys.part(ref.job_id, ref.number),
                *(ref.member, attempts_field, slow, messages.pop(ref, "")),
            )
            for ref, attempts_field, slow in rows
        ],
        outstanding=keys.outstanding(lane),
        queue=keys.queue(lane, version),
        deadline=deadline,
        kind=kind,
    )


def _part_work(
    ref: PartRef,
    client: bytes,
    record: list[bytes],
    sizes: list[Any],
    images: list[bytes],
    embeddings: bytes | int,
) -> PartWork:
    fields = dict(zip(record[::2], record[1::2], strict=True))
    spec = json.loads(fields[b"spec"].decode())  # json.loads would guess the encoding of bytes
    digests = {
        k: digest
        for k, (_, _, digest, *_) in enumerate(spec["items"])
        if outcome_field(k).encode() not in fields and ref.only in (None, k)
    }
    return PartWork(
        ref=ref,
        client=client.decode(),
        top_k=spec["top_k"],
        accepted_at=spec["accepted_at"],
        trace=spec.get("trace", ""),  # a part of an older version has none
        attempt=int(fields[ref.attempts_field.encode()]),
        digests=digests,
        thumbnails=spec.get("thumbnails", False),
        # Web of an earlier release may have accepted the part, and knows only the job of a new one.
        embeddings=int(embeddings),
        sizes={int(k): size for k, size in zip(sizes[::2], sizes[1::2], strict=True)},
        images={int(k): data for k, data in zip(images[::2], images[1::2], strict=True)},
        slow=frozenset(k for k in digests if f"{_SLOW}{k}".encode() in fields),
    )
