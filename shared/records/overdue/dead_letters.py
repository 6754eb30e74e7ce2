"""Dead letters: images on which a worker died each time, kept so that they can be retried."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from redis import Redis
from redis.client import Pipeline

from shared import clock, keys
from shared.jobs import Lane, PartRef
from shared.known_fields import known_fields
from shared.message import message
from shared.records.claims import Claim, value
from shared.records.codec import outcome_field, text
from shared.records.scripts import Script
from shared.serving import model_versions

#: Bytes of all images that are kept. They are in no client's account, because they have an outcome.
MOST_BYTES = 256 * 2**20

_REVIVE = Script("overdue/revive")


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    member: str  #: PartRef.member of the single image.
    lane: Lane
    job_id: str
    index: int  #: Of the item in its job.
    name: str
    owner: str  #: Name of the API key that submitted it; empty if keys were off.
    at: float  #: When recovery gave up; Unix seconds.
    bytes: int = 0  #: Of the image. A letter of an earlier release has none.


class DeadLetters:
    def __init__(self, redis: Redis, *, ttl_seconds: int, deadline_seconds: float) -> None:
        self._redis = redis
        self._ttl = ttl_seconds
        self._deadline = deadline_seconds

    def all(self) -> list[DeadLetter]:
        """All dead letters, oldest first.

        Removes those whose image has expired, because nobody can retry them. Removes the oldest
        ones, too, if the images have more than `MOST_BYTES`.
        """
        texts = self._redis.hvals(keys.DEAD_LETTERS)
        letters = sorted((_letter(json.loads(text)) for text in texts), key=lambda each: each.at)
        oldest, left = clock.now(self._redis) - self._ttl, MOST_BYTES
        kept: list[DeadLetter] = []
        for letter in reversed(letters):
            left -= letter.bytes
            if letter.at < oldest or left < 0:
                self.remove(letter.member)
            else:
                kept.append(letter)
        return kept[::-1]

    def retry(self, letter: DeadLetter, claim: Claim | None = None) -> bool:
        """Queue the image again; False if the letter is gone, or its job expired or cancelled."""
        ref = PartRef.from_member(letter.member)
        position = ref.only or 0
        now = clock.now(self._redis)
        version = self._version(letter)
        revived = _REVIVE(
            self._redis,
            job=keys.job(ref.job_id),
            part=keys.part(ref.job_id, ref.number),
            images=keys.images(ref.job_id, ref.number),
            outstanding=keys.outstanding(letter.lane),
            outstanding_images=keys.outstanding_images(letter.lane),
            held=keys.HELD,
            queue=keys.queue(letter.lane, version),
            dead_letters=keys.DEAD_LETTERS,
            dead_image=keys.dead_image(letter.member),
            claim=claim.name if claim else "",
            member=letter.member,
            position=position,
            outcome_field=outcome_field(position),
            attempts_field=ref.attempts_field,
            deadline=now + self._deadline,
            message=message(letter.lane, [ref], version=version),
            claim_value=value(claim, ref.job_id) if claim else "",
            claim_seconds=2 * self._ttl if claim else "",
            job_id=ref.job_id,
            lane=letter.lane,
            now=now,
            ttl=self._ttl,
        )
        return bool(revived)

    def _version(self, letter: DeadLetter) -> str:
        """The model version whose queue gets the image; empty for the queue of all workers."""
        of_job: Any = self._redis.hget(keys.job(letter.job_id), "model_version")
        return model_versions.read(self._redis, letter.lane).route(text(of_job or ""))

    def add(self, pipe: Pipeline, letter: DeadLetter, image: bytes) -> None:
        """Add to a transaction: keep the letter and its image."""
        pipe.hset(keys.DEAD_LETTERS, letter.member, json.dumps(asdict(letter)))
        pipe.set(keys.dead_image(letter.member), image, ex=self._ttl)

    def remove(self, member: str) -> None:
        self._redis.hdel(keys.DEAD_LETTERS, member)
        self._redis.delete(keys.dead_image(member))


def _letter(fields: dict[str, Any]) -> DeadLetter:
    return DeadLetter(**known_fields(DeadLetter, fields) | {"lane": Lane(fields["lane"])})
