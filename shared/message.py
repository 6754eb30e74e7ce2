"""The message that names parts to a worker, in the form in which Celery would have sent it.

Celery's message protocol 2 inside the envelope of kombu's Redis transport, made here so that it
can join the transaction that accepts the parts: a part is stored and queued, or neither. It also
costs a tenth of `send_task`. A test holds it against what Celery itself sends.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence

from shared.jobs import PART_SIZE, Lane, PartRef
from shared.portions import portions

#: The task by name: who sends never imports the workers' code.
CLASSIFY = "workers.classify"

#: Header with the number of images in a message, so that a batch is sized without decoding.
IMAGES = "images"

#: What Celery adds to the arguments of a task that is part of no canvas.
_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


#: Size that a message claims so that nothing joins its batch.
_ALONE = 1_000_000


def message(lane: Lane, refs: Sequence[PartRef]) -> str:
    """One message for these parts; it goes to the head of the list that is named as the lane.

    A suspect image travels and runs alone: whatever it does, it does to nobody else.
    """
    parts = [list(ref) for ref in refs]
    alone = any(ref.only is not None for ref in refs)
    task_id = str(uuid.uuid4())
    body = json.dumps([[parts], {}, _EMBED]).encode()
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": CLASSIFY,
                "id": task_id,
                "root_id": task_id,
                "parent_id": None,
                "group": None,
                "retries": 0,
                "eta": None,
                "expires": None,
                "timelimit": [None, None],
                "argsrepr": repr(parts),
                "kwargsrepr": "{}",
                "ignore_result": True,
                IMAGES: _ALONE if alone else sum(ref.images for ref in refs),
            },
            "properties": {
                "correlation_id": task_id,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": lane},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
    )


def packed(refs: Iterable[PartRef]) -> Iterator[list[PartRef]]:
    """Parts by message: together while their images make no more than one full part."""
    return portions(refs, size=lambda ref: ref.images, most=PART_SIZE)
