"""A part that is being uploaded: its images are staged beside the records.

One script then accepts the whole part. If the images were arguments of that script, they would be
copied three times, and all images of a part may be too much for one round trip. If the process
dies before the script runs, the staged keys expire soon.
"""

from __future__ import annotations

import uuid
from dataclasses import replace

from redis import Redis
from redis.client import Pipeline

from shared import clock, keys
from shared.jobs import ItemState, Job, NewItem
from shared.records import footprint
from shared.records.codec import part_fields
from shared.records.images import BYTES_AT_ONCE, Note, store_images

#: Staged keys live this long. A part that is not accepted by then never will be.
_SECONDS = 120


class StagedPart:
    def __init__(self, redis: Redis, job: Job, trace: str, note: Note) -> None:
        self._redis = redis
        self._trace = trace
        self._top_k = job.top_k
        self._options = job
        self._note = note
        self._unsent: dict[int, bytes] = {}
        self._unsent_bytes = 0
        self.now = clock.now(redis)
        token = uuid.uuid4().hex
        self.key = keys.staged(token)
        self.images_key = keys.staged_images(token)
        self.items: list[NewItem] = []  #: Without their images.
        self.bytes = 0  #: Of the images that need a worker.
        self.kept = 0  #: Bytes of the record, about. Known once `rest` was called.
        # Of the items that have an outcome already:
        self.finished: list[int] = []  #: Their positions.
        self.succeeded = 0
        self.model_version: str | None = None

    @property
    def pending(self) -> int:
        """Items that need a worker."""
        return len(self.items) - len(self.finished)

    @property
    def failed(self) -> int:
        """Items that were refused."""
        return len(self.finished) - self.succeeded

    def add(self, item: NewItem) -> None:
        """Add the next item. Sends the images to Redis once there are several megabytes."""
        position = len(self.items)
        self.items.append(replace(item, data=b""))
        if item.outcome:
            self.finished.append(position)
            if item.outcome.state is ItemState.SUCCEEDED:
                self.succeeded += 1
                self.model_version = item.outcome.model_version
            return
        self._unsent[position] = item.data
        self._unsent_bytes += len(item.data)
        self.bytes += len(item.data)
        if self._unsent_bytes > BYTES_AT_ONCE:
            pipe = self._redis.pipeline(transaction=True)
            memory = sum(footprint.of_image(len(data)) for data in self._unsent.values())
            self._send(pipe)
            pipe.execute()
            self._note(memory)

    def rest(self) -> Pipeline:
        """A transaction that sends the record and every image that was not sent yet."""
        pipe = self._redis.pipeline(transaction=True)
        fields = part_fields(self.items, self._top_k, self.now, self._trace, self._options)
        self.kept = footprint.kept_of_part(fields, thumbnails=self._options.thumbnails)
        pipe.hset(self.key, mapping=fields)
        pipe.expire(self.key, _SECONDS)
        self._send(pipe)
        return pipe

    def _send(self, pipe: Pipeline) -> None:
        if self._unsent:
            store_images(pipe, self.images_key, self._unsent, _SECONDS)
        self._unsent, self._unsent_bytes = {}, 0
