"""The signature of an event, as Standard Webhooks (standardwebhooks.com) defines it."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime

from standardwebhooks import Webhook

from workers.webhooks.event import Event

_SECRET_PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)


class Signer:
    def __init__(self, secret: str) -> None:
        """`secret` is `whsec_<base64>`, or several with spaces between: one for each signature.

        A receiver accepts an event if one signature fits its secret, so a secret can be replaced
        while both sides work. Raises ValueError, whose message contains no secret.
        """
        secrets = secret.split() or [""]
        for each in secrets:
            _check(each)
        self._webhooks = [Webhook(each) for each in secrets]

    def headers(self, event: Event, *, timestamp: int) -> dict[str, str]:
        """The headers of a try at `timestamp`, in Unix seconds."""
        sent_at = datetime.fromtimestamp(timestamp, UTC)
        body = event.body.decode()
        signatures = (each.sign(event.id, sent_at, body) for each in self._webhooks)
        return {
            "webhook-id": event.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(signatures),
        }


def _check(secret: str) -> None:
    """The library also accepts secrets that are short or not valid base64."""
    try:
        if not secret.startswith(_SECRET_PREFIX):
            raise ValueError
        key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
        if len(key) not in _SECRET_BYTES:
            raise ValueError
    except (ValueError, binascii.Error):
        raise ValueError("must be whsec_ and the base64 of 24 to 64 random bytes") from None
