"""Reads the results that pool processes have sent while there was no connection to Redis.

Celery's event loop runs only while there is a connection, and it looks at its timers first. After a
long outage it would kill a process for its time limit, although its result has long been there.
"""

from __future__ import annotations

import select
from typing import Any

#: Messages of one process: that it has accepted a batch, and its result. Each comes in one piece,
#: because a result is short (workers.batching.batch.BatchFailed).
_MOST = 2


def read_results(pool: Any) -> None:
    """Read what is there, without waiting. `pool` is Celery's prefork pool."""
    processes = pool._pool
    if not processes._registered_with_event_loop:
        return  # There was no event loop yet, without which Celery cannot read a result.
    for fd in list(processes._fileno_to_outq):
        for _ in range(_MOST):
            # poll() and not select(), because a descriptor may be above 1023.
            readable = select.poll()
            readable.register(fd, select.POLLIN)
            if not readable.poll(0):
                break
            processes.handle_result_event(fd)
