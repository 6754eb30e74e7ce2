"""The message that names parts to a worker, in the form in which Celery would send it.

It is Celery's message protocol 2 in the envelope of kombu's Redis transport. It is made here, so
that it can be in the transaction that stores the parts: a part is stored and queued, or neither. It
also costs a tenth of `send_task`. A test compares it with what Celery sends.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence

from shared import keys
from shared.jobs import PART_SIZE, Lane, PartRef
from shared.portions import portions

#: The name of the task. The web process does not import the workers' code.
CLASSIFY = "workers.classify"

#: Header with the number of images in a message. A worker sizes a batch by it without decoding.
IMAGES = "images"

#: Header with the client of a message, if that is known. Clients take turns with their messages.
CLIENT = "of_client"

#: Celery adds this to the arguments of a task that is not in a canvas.
_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

#: The size in the header of a message that runs alone: no other message fits into its batch.
ALONE = 1_000_000


def message(
    lane: Lane,
    refs: Sequence[PartRef],
    *,
    version: str = "",
    alone: bool = False,
    client: str = "",
) -> str:
    """One message, as JSON, for these parts of one model version.

    The caller pushes it to the head of the queue of this lane and version.

    With `alone` it is the only one of its batch. So is the message of a suspect image, which can
    then harm no other image. `client` is the one whose parts these are, if that is known.
    """
    parts = [list(ref) for ref in refs]
    alone = alone or any(ref.only is not None for ref in refs)
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
                IMAGES: ALONE if alone else sum(ref.images for ref in refs),
                **({CLIENT: client} if client else {}),
            },
            "properties": {
                "correlation_id": task_id,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": keys.queue(lane, version)},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
    )


def client_of_ordinary(text: bytes) -> str:
    """The client of a message that need not run alone. Empty if it must, or names no client."""
    headers = json.loads(text)["headers"]
    return "" if headers.get(IMAGES, 1) >= ALONE else str(headers.get(CLIENT, ""))


def packed(refs: Iterable[PartRef]) -> Iterator[list[PartRef]]:
    """The parts of each message: together as long as they have no more images than a full part."""
    return portions(refs, size=lambda ref: ref.images, most=PART_SIZE)
