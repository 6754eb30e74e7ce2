"""The web processes: their clients, the page and the webhooks."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from shared.addresses.hosts import HostNames, Origins
from shared.settings.types import Count, CountOrZero, Seconds, SecondsOrZero, WebAddress
from shared.settings.workers import cores


def _half_of_cores() -> int:
    """A web process needs a sixth of the time that the workers need for its pictures."""
    return max(1, cores() // 2)


class WebSettings(BaseSettings):
    # Web
    web_processes: Count = Field(default_factory=_half_of_cores)
    """gunicorn processes; 1 in a container."""
    wait_seconds: SecondsOrZero = 30
    """How long `POST /classify` waits for the result before it answers 202."""
    max_wait_seconds: SecondsOrZero = 55
    """Longest wait that a client may ask for. Most proxies end a request after 60 s."""
    max_unfinished_messages: Count = 4
    """Interactive messages that a web process has under way; further pictures gather in one."""
    max_concurrent_submissions: Count = 1_000
    """Uploads that a web process handles at a time; it refuses more. One client gets half."""
    max_body_memory_bytes: Count = 256 * 2**20
    """Bytes of request bodies that a web process holds in memory at a time. One client gets
    half."""
    body_wait_seconds: SecondsOrZero = 10
    """How long a request waits for this memory before it is refused, and an archive until others
    are unpacked; 0 refuses it at once."""
    max_event_streams: Count = 500
    """Event streams that a web process keeps open at a time; it refuses more. One client gets
    half."""

    # Access and limits
    api_keys_file: Path | None = None
    """File with a line `name:sha256` for each API key, read again when it changes. If not set, no
    key is needed."""
    api_key: str | None = None
    """API key that the quick start uses for its own requests, if it has an `API_KEYS_FILE`."""
    rate_limit_per_minute: CountOrZero = 0
    """Requests per minute of one API key, or of one address if keys are off; 0 means no limit."""
    trusted_proxies: CountOrZero = 0
    """Number of proxies in front whose `X-Forwarded-For` names the client's address."""
    allowed_hosts: HostNames | None = None
    """Names at which web answers, beside `localhost` and all IP addresses: a list with commas,
    `*.example.com`, or `*` for every name. If not set, every name if API keys are on, else none."""
    allowed_origins: Origins | None = None
    """Web pages of other sites that may use the API: a list such as `https://example.com`, or `*`.
    If not set, none may."""
    max_outstanding_interactive: Count = 2_000
    """Images that `interactive` accepts before they are done. Two cores do the default within
    `WAIT_SECONDS`."""
    max_outstanding_bulk: Count = 100_000
    """The same for `bulk`. Two cores do the default in a quarter of an hour."""
    max_bytes_held: Count = 7 * 2**28
    """Bytes of images that wait in Redis. `bulk` may use four fifths of it, which should be twice a
    part of 32 pictures of `MAX_IMAGE_BYTES`."""

    # The page
    flower_url: WebAddress | None = None
    """Address of Flower for a browser, linked on the page. The quick start sets it."""
    grafana_url: WebAddress | None = None
    """The same for Grafana."""
    kibana_url: WebAddress | None = None
    """The same for Kibana."""

    # Webhooks
    webhooks: bool = False
    """A job may name an address that is notified of its end. The quick start then also runs the
    worker that delivers webhooks."""
    webhook_secret: SecretStr | None = None
    """Secret that signs webhooks: `whsec_` and the base64 of 24 to 64 random bytes. Several, with
    spaces between, each make a signature."""
    webhook_timeout_seconds: Seconds = 15
    """Longest time that a receiver may take to answer."""
    webhook_allow_private: bool = False
    """Webhooks may go to this machine and its network. This is dangerous: use it only for tests and
    in closed networks."""
