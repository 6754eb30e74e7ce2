"""A limit that clients share, so that one client never takes all of it."""

from __future__ import annotations

import threading


class Shares:
    """A client may hold at most as much as it leaves free.

    So the first client gets half of the limit at most, and each further one half of what is left. A
    client that has ten addresses can take nearly all.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._held: dict[str, int] = {}  #: By the name of the client.
        self._lock = threading.Lock()

    def take(self, client: str, amount: int = 1) -> bool:
        """Whether `client` got `amount`. Where nobody holds anything, it gets any amount."""
        if not amount:
            return True
        with self._lock:
            held = self._held.get(client, 0)
            if self._held and held + amount > self._free:
                return False
            self._free -= amount
            self._held[client] = held + amount
            return True

    def left(self, client: str) -> int:
        """How much more `client` may take at once."""
        return self._free - self._held.get(client, 0)

    def others_hold_some(self, client: str) -> bool:
        """Whether anybody but `client` holds something."""
        return len(self._held) > (client in self._held)

    def give_back(self, client: str, amount: int = 1) -> None:
        """Free what `client` has taken."""
        if not amount:
            return
        with self._lock:
            self._free += amount
            self._held[client] -= amount
            if not self._held[client]:
                del self._held[client]
