"""What a pool process does with a batch."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

from celery import current_app

from shared.errors import ClassifierError
from shared.observe import log
from workers.batching.batch import BatchFailed
from workers.batching.recall import Recall

#: The main process asks for the early end of a batch.
recall = Recall()

logger = logging.getLogger(__name__)


def run_batch(
    number: int,
    task_name: str,
    lists: list[list[Any]],
    ids: list[str],
    alone: bool,
    slow: bool,
    others: bool,
) -> tuple[Any, float]:
    """Call the task's function with the entries of all messages."""
    started = time.monotonic()
    log.fields.set({"task.id": ids})
    value: Any
    try:
        entries = [entry for each in lists for entry in each]
        value = current_app.tasks[task_name].run(
            entries,
            alone=alone,
            slow=slow,
            others=others,
            recalled=partial(recall.asked, number),
        )
    except ClassifierError as error:  # its text says all
        logger.error("batch of %d messages failed: %s", len(lists), error)
        value = BatchFailed.because_of(error)
    except Exception as error:
        logger.exception("batch of %d messages failed", len(lists))
        value = BatchFailed.because_of(error)
    return value, time.monotonic() - started
