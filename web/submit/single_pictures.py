"""The single pictures of each client that are in the queue of the lane `interactive`.

Such a picture is queued at once, because its user waits for it. But hundreds of one client would
stand in front of the picture of another. So a client may have a limited number there. The others
wait for their rounds, as the parts of large jobs do.

Each web process counts its own pictures, so this costs no round trip. A picture is counted until it
is committed. The notice of a commit may be lost, so it is not counted for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from shared.jobs import PART_SIZE

#: Pictures of one client. A micro-batch takes as many.
_MOST = PART_SIZE

#: A picture that was queued so long ago does not count any more.
_LONGEST_SECONDS = 60.0


class SinglePictures:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._queued_at: dict[str, dict[str, float]] = {}  #: By client, then by job id.
        self._client_of: dict[str, str] = {}  #: By job id.

    def enter(self, client: str, job_id: str) -> bool:
        """Count the picture of a job; False if the client has as many as it may."""
        with self._lock:
            queued_at = self._queued_at.setdefault(client, {})
            if len(queued_at) >= _MOST:
                oldest = self._clock() - _LONGEST_SECONDS
                for each in [each for each, at in queued_at.items() if at < oldest]:
                    del queued_at[each], self._client_of[each]
            if len(queued_at) >= _MOST:
                return False
            queued_at[job_id] = self._clock()
            self._client_of[job_id] = client
            return True

    def leave(self, job_id: str) -> None:
        """Count the picture no more, if it was counted: it is committed, or was not accepted."""
        with self._lock:
            client = self._client_of.pop(job_id, None)
            if client is not None:
                del self._queued_at[client][job_id]
                if not self._queued_at[client]:
                    del self._queued_at[client]

    def forget_all(self) -> None:
        """Count anew, because notices of commits are lost."""
        with self._lock:
            self._queued_at.clear()
            self._client_of.clear()
