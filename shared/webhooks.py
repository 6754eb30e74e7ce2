"""What a webhook says, how it is signed, and where it may go. No Redis, no network.

Standard Webhooks (standardwebhooks.com): the same headers, secrets and signatures as its libraries
make and check.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import json
import re
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from shared.errors import InvalidWebhook
from shared.jobs import Job

#: The task by name, and its queue.
DELIVER = "workers.webhook"
QUEUE = "webhooks"

_LONGEST_URL = 2048
#: RFC 3986. What is not in it has been read in different ways by different parsers.
_URL = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")

#: Below 1024 only what HTTP is served on: nobody's mail or login port is knocked at from here.
_WEB_PORTS = {"http": 80, "https": 443}
_LEAST_PORT = 1024

_SECRET_PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)

#: All that is routed in version 6 today; the rest is local, reserved or a way to version 4.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")

#: Special uses that Python's tables leave out, or did until lately.
_SPECIAL = [ipaddress.IPv4Network(each) for each in ("192.0.0.0/24", "192.88.99.0/24")]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Fields of a job that are told as they are.
_SAME = ("id", "state", "lane", "top_k", "model_version")
_TIMES = ("created_at", "started_at", "finished_at", "expires_at")
_COUNTS = ("total", "received", "queued", "succeeded", "failed", "cancelled", "cached")


class Target(NamedTuple):
    """Where a webhook goes, of its address."""

    tls: bool
    host: str
    port: int
    path: str  #: With its query.


class Event(NamedTuple):
    """A job's end, as it is told; the same at each try."""

    id: str
    body: bytes


def target(url: str) -> Target:
    """The parts of a webhook's address. Raises InvalidWebhook.

    Whether its host may be called is told by `is_public`, once it has been resolved.
    """
    if len(url) > _LONGEST_URL or not _URL.fullmatch(url):
        raise InvalidWebhook(f"webhook: an address of at most {_LONGEST_URL} ASCII characters.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidWebhook("webhook: not an address.") from error
    if parts.scheme not in _WEB_PORTS or not parts.hostname:
        raise InvalidWebhook("webhook: an address that begins with https:// or http://.")
    if "@" in parts.netloc:
        raise InvalidWebhook("webhook: no user name or password in the address.")
    port = port or _WEB_PORTS[parts.scheme]
    if port < _LEAST_PORT and port not in _WEB_PORTS.values():
        raise InvalidWebhook(f"webhook: port 80, 443 or from {_LEAST_PORT}.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme == "https", parts.hostname, port, path)


def check(url: str, *, allow_private: bool) -> None:
    """Refuse at once what would be refused at the end. Raises InvalidWebhook."""
    host = target(url).host
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return  # a name: whoever delivers will look where it leads then
    if not allow_private and not is_public(address):
        raise InvalidWebhook("webhook: the address is not a public one.")


def is_public(address: Address) -> bool:
    """Whether an address is anybody's: not of this machine, this network, or a special use."""
    if isinstance(address, ipaddress.IPv6Address):
        # Tunnels lead to an address of version 4 that nobody has looked at.
        leads_on = address.sixtofour or address.teredo
        return address in _GLOBAL_UNICAST and address.is_global and not leads_on
    special = address.is_multicast or any(address in network for network in _SPECIAL)
    return address.is_global and not special


def event(job: Job) -> Event:
    """What is told of a job that has ended."""
    assert job.finished_at
    # A dead letter that is tried again ends its job again: that is another event.
    event_id = f"msg_{job.id}_{round(1000 * job.finished_at)}"
    body = {
        "type": f"job.{job.state}",
        "timestamp": datetime.fromtimestamp(job.finished_at, UTC).isoformat(),
        "data": _job(job),
    }
    return Event(event_id, json.dumps(body, separators=(",", ":")).encode())


def headers(event: Event, *, secret: str, timestamp: int) -> dict[str, str]:
    """Standard Webhooks' headers for a try at `timestamp`, in Unix seconds."""
    signed = f"{event.id}.{timestamp}.".encode() + event.body
    digest = hmac.digest(key(secret), signed, hashlib.sha256)
    return {
        "webhook-id": event.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def key(secret: str) -> bytes:
    """The bytes of a secret `whsec_<base64>`. Raises ValueError, without telling the secret."""
    try:
        if not secret.startswith(_SECRET_PREFIX):
            raise ValueError
        found = base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
        if len(found) not in _SECRET_BYTES:
            raise ValueError
    except (ValueError, binascii.Error):
        raise ValueError("must be whsec_ and the base64 of 24 to 64 random bytes") from None
    return found


def _job(job: Job) -> dict[str, Any]:
    """The job as `GET /jobs/<id>` answers it; a test compares the two."""
    told = {name: getattr(job, name) for name in (*_SAME, *_TIMES)}
    told |= {"position": None, "estimated_seconds": None}  # it has ended
    return told | {"counts": {name: getattr(job, name) for name in _COUNTS}}
