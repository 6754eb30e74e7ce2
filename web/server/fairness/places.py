"""The requests that a process answers at a time, of which one client gets half at most.

Behind a trusted proxy all connections come from the proxy, and an API key may come from many
addresses. So web.server.gunicorn_worker cannot share the connections among such clients. A request
needs a connection, and here clients share as many requests as there are connections.
"""

from __future__ import annotations

from contextvars import ContextVar

from web.server.fairness.shares import Shares

#: The client whose request this greenlet answers, if that has a place.
_client: ContextVar[str] = ContextVar("client_with_a_place", default="")


class Places:
    def __init__(self) -> None:
        self._shares: Shares | None = None

    def limit(self, most: int) -> None:
        """Set how many there are. Without a limit, nothing counts."""
        self._shares = Shares(most)

    def take(self, client: str) -> bool:
        """Whether the request that this greenlet answers got a place."""
        if self._shares:
            if not self._shares.take(client):
                return False
            _client.set(client)
        return True

    def others_have_some(self, client: str) -> bool:
        """Whether a request of another client is under way. Threads may ask."""
        return self._shares is not None and self._shares.others_hold_some(client)

    def give_back(self) -> None:
        """The answer has left, or will never leave."""
        if self._shares and (client := _client.get()):
            _client.set("")
            self._shares.give_back(client)


#: Those of this process.
PLACES = Places()
