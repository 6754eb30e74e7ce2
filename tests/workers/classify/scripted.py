"""Batches whose decoder takes as long as the bytes of a picture say."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from redis import Redis

from shared import keys
from shared.errors import DecodeTimeout
from shared.jobs import Lane, NewItem, NewJob, PartRef, new_job_id
from shared.message import ALONE, IMAGES
from shared.records.job_records import JobRecords
from shared.settings import Settings
from workers.classify.budget import DecodeBudget
from workers.classify.tasks import BatchClassifier
from workers.decode.decoder import Decoded, Trial
from workers.decode.limits import GivenUp

SETTINGS = Settings(lane=Lane.INTERACTIVE)
LIMIT = SETTINGS.max_decode_seconds
BUDGET = DecodeBudget.of(SETTINGS)
TRIAL = BUDGET.trial.cpu_seconds if BUDGET.trial else 0.0
#: The seconds that the decoder below needs. HEAVY is just not slow.
GOOD, HEAVY, LARGE, HOSTILE = b"0.02", b"0.29", b"1", b"1000"
#: A HEIC, for example: its decoder is one call, whose first try may take longer.
ONE_CALL = b"0.8 call"
#: Its header says that it has many pixels.
MANY_PIXELS = b"2.5 many"


class ScriptedDecoder:
    """Needs as many seconds as the bytes say, up to the limit. No time passes.

    A picture of many pixels ends its first try at once. One that is decoded in one call has three
    times as long for it.
    """

    def __init__(self, side: int) -> None:
        self._pixels = np.zeros((side, side, 3), np.uint8)
        self.seconds = 0.0  #: Of the present batch.
        self.seen: list[bytes] = []

    def decode(
        self,
        data: bytes,
        *,
        trial: Trial | None = None,
        give_up: Callable[[], bool] | None = None,
        low_priority: bool = False,
    ) -> Decoded:
        self.seen.append(data)
        if give_up and give_up():
            raise GivenUp
        if trial and b"many" in data:
            return Decoded(DecodeTimeout(), 0.0)
        needed, limit = float(data.split()[0]), trial.cpu_seconds if trial else LIMIT
        slow = trial is not None and needed > limit
        if trial and b"call" in data:
            limit = max(limit, trial.call_seconds)
        self.seconds += min(needed, limit)
        pixels = DecodeTimeout() if needed > limit else self._pixels
        used = min(needed, limit)
        return Decoded(pixels, 1000 * used, slow, used)


Make = Callable[..., BatchClassifier]


def submit(jobs: JobRecords, *pictures: bytes, client: str = "") -> PartRef:
    """A job of these pictures."""
    items = [NewItem(name="p", digest=f"{data!r}", data=data) for data in pictures]
    job_id = new_job_id()
    job = NewJob(id=job_id, lane=Lane.INTERACTIVE, top_k=1, items=items, client=client)
    jobs.submitter.accept([job])
    return PartRef(job_id, 0, len(items))


def taken(redis: Redis) -> list[tuple[list[PartRef], bool]]:
    """The parts of each message that waits, and whether they run alone. Then none waits.

    Parts of a job are put back into the queue of its model version.
    """
    queues: Any = redis.keys(f"{keys.queue(Lane.INTERACTIVE)}*")
    texts = [text for queue in queues for text in reversed(redis.lrange(queue, 0, -1))]
    messages = [json.loads(text) for text in texts]
    if queues:
        redis.delete(*queues)
    bodies = [json.loads(base64.b64decode(each["body"])) for each in messages]
    return [
        ([PartRef(*part) for part in body[0][0]], message["headers"][IMAGES] == ALONE)
        for body, message in zip(bodies, messages, strict=True)
    ]


def outcomes(jobs: JobRecords, ref: PartRef) -> list[str]:
    """What became of each picture: `succeeded`, the code of its error, or `waiting`."""
    items = jobs.reader.part_items(ref.job_id, ref.number)
    return [
        (
            (item.outcome.error.code if item.outcome.error else item.outcome.state.value)
            if item.outcome
            else "waiting"
        )
        for item in items
    ]


def load_side(classifier: Make) -> int:
    return classifier()._engine.model.preset.crop_size
