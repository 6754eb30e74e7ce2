"""The settings: every environment variable that the service reads, with its type and meaning."""

from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.hosts import HostNames, Origins
from shared.jobs import Lane

logger = logging.getLogger(__name__)

# Unless this is set before ONNX Runtime is imported, its wheels report every loaded model to their
# maker. An operator who wants the reports sets 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

#: The folder where Compose and our Kubernetes manifests mount secrets, one file for each value.
SECRETS = Path("/run/secrets")

_Count = Annotated[int, Field(ge=1)]
_CountOrZero = Annotated[int, Field(ge=0)]
_Port = Annotated[int, Field(ge=1, le=65535)]
_Seconds = Annotated[float, Field(gt=0)]
_SecondsOrZero = Annotated[float, Field(ge=0)]
#: The page links to it, so it must not be a `javascript:` address.
_WebAddress = Annotated[str, Field(pattern="^https?://")]


def _cores() -> int:
    """The cores that this process may use. A container may have fewer than the machine."""
    return len(os.sched_getaffinity(0))


def _half_of_cores() -> int:
    """A web process needs a sixth of the time that the workers need for its pictures."""
    return max(1, _cores() // 2)


def _models_dir(valid: dict[str, Any]) -> Path:
    # If data_dir is not valid, it is missing here. The error about data_dir is reported.
    return Path(valid.get("data_dir", "data")) / "models"


class Settings(BaseSettings):
    """All settings: one immutable object, read once at the start.

    The field `max_batch_size` is the environment variable `MAX_BATCH_SIZE`, or else the content of
    the file `max_batch_size` in SECRETS. An address with a password should be in a file: child
    processes inherit the environment, and tools show it. A value that is not valid stops the
    program with the name of the variable. docs/settings.md has the fields and the text below each,
    and a test compares.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        protected_namespaces=(),
        # pydantic-settings warns of a folder that does not exist.
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
        # A value that is not valid may be a secret, so an error names only the variable.
        hide_input_in_errors=True,
    )

    # Addresses and folders
    redis_url: str = "redis://127.0.0.1:6379/0"
    """Redis, for messages, records and cached results. `unix://` and a path name a socket. The
    quick start runs its own Redis if this is not set."""
    data_dir: Path = Path("data")
    """Folder for the quick start's Redis files, the heartbeats of workers, and metrics."""
    models_dir: Path = Field(default_factory=_models_dir)
    """Folder for exported models; `models` in `DATA_DIR` if not set."""
    host: str = "127.0.0.1"
    """Address that web and Flower listen on. The default accepts only this machine."""
    web_port: _Port = 8000
    """Port of the API."""
    flower_port: _Port = 5555
    """Port of Flower in the quick start."""
    redis_maxmemory: Annotated[int, Field(ge=2**26)] | None = None
    """Bytes that the quick start's Redis may use; a quarter of the memory if not set."""

    # The model
    model: str = "mobilenet_v3_large"
    """Name of any torchvision classification model."""
    model_weights: str = "DEFAULT"
    """`DEFAULT` (torchvision's), a `.pth` or `.safetensors` file, `demonstration` (ten classes,
    needs no download), or `random`."""
    model_labels: Path | None = None
    """File with one label per line; needed if the labels are not those of the default weights."""
    engine: Literal["auto", "onnxruntime", "torch"] = "auto"
    """`auto` is torch on a CUDA card and ONNX Runtime on a CPU."""

    # Workers
    lane: Lane = Lane.INTERACTIVE
    """Lane that a worker serves: `interactive` or `bulk`."""
    worker_processes: _Count = Field(default_factory=_cores)
    """Pool processes of a worker."""
    max_batch_size: Annotated[int, Field(ge=1, le=1024)] = 32
    """Most images in one micro-batch."""
    batch_time_limit_seconds: _Count = 45
    """A pool process that needs longer for one micro-batch is killed."""
    part_deadline_seconds: _Count = 60
    """If no worker starts on a part, or ends it, within this time, the part is queued again."""
    reconcile_seconds: _Seconds = 5
    """How often a worker checks for parts whose deadline has passed."""
    stall_seconds: _Seconds = 30
    """A worker ends if the queue has messages and it takes none for this long."""

    # Web
    web_processes: _Count = Field(default_factory=_half_of_cores)
    """gunicorn processes; 1 in a container."""
    wait_seconds: _SecondsOrZero = 30
    """How long `POST /classify` waits for the result before it answers 202."""
    max_wait_seconds: _SecondsOrZero = 55
    """Longest wait that a client may ask for. Most proxies end a request after 60 s."""
    max_unfinished_messages: _Count = 4
    """Interactive messages that a web process has under way; further pictures gather in one."""
    max_concurrent_submissions: _Count = 1_000
    """Uploads that a web process handles at a time; it refuses more."""
    max_event_streams: _Count = 500
    """Event streams that a web process keeps open at a time; it refuses more."""

    # Access and limits
    api_keys_file: Path | None = None
    """File with a line `name:sha256` for each API key, read again when it changes. If not set, no
    key is needed."""
    api_key: str | None = None
    """API key that the quick start uses for its own requests, if it has an `API_KEYS_FILE`."""
    rate_limit_per_minute: _CountOrZero = 0
    """Requests per minute of one API key, or of one address if keys are off; 0 means no limit."""
    trusted_proxies: _CountOrZero = 0
    """Number of proxies in front whose `X-Forwarded-For` names the client's address."""
    allowed_hosts: HostNames | None = None
    """Names at which web answers, beside `localhost` and all IP addresses: a list with commas,
    `*.example.com`, or `*` for every name. If not set, every name if API keys are on, else none."""
    allowed_origins: Origins | None = None
    """Web pages of other sites that may use the API: a list such as `https://example.com`, or `*`.
    If not set, none may."""
    max_outstanding_interactive: _Count = 2_000
    """Images that `interactive` accepts before they are done. Two cores do the default within
    `WAIT_SECONDS`."""
    max_outstanding_bulk: _Count = 100_000
    """The same for `bulk`. Two cores do the default in a quarter of an hour."""
    max_bytes_held: _Count = 2**30
    """Bytes of images that wait in Redis. `bulk` may use four fifths of it."""

    # The page
    flower_url: _WebAddress | None = None
    """Address of Flower for a browser, linked on the page. The quick start sets it."""
    grafana_url: _WebAddress | None = None
    """The same for Grafana."""
    kibana_url: _WebAddress | None = None
    """The same for Kibana."""

    # Webhooks
    webhooks: bool = False
    """A job may name an address that is notified of its end. The quick start then also runs the
    worker that delivers webhooks."""
    webhook_secret: SecretStr | None = None
    """Secret that signs webhooks: `whsec_` and the base64 of 24 to 64 random bytes."""
    webhook_timeout_seconds: _Seconds = 15
    """Longest time that a receiver may take to answer."""
    webhook_allow_private: bool = False
    """Webhooks may go to this machine and its network. This is dangerous: use it only for tests and
    in closed networks."""

    # Input
    max_image_bytes: _Count = 20 * 2**20
    """Largest picture, in bytes."""
    # A job is one transaction, and Redis has a second for it.
    max_request_bytes: _Count = 64 * 2**20
    """Largest request body, in bytes."""
    max_job_images: Annotated[int, Field(ge=1, le=1_000_000)] = 500_000
    """Most pictures in a job that is uploaded in parts."""
    max_archive_bytes: _Count = 2**30
    """Largest archive, in bytes. It is kept on disk while it is read."""
    max_archive_members: _Count = 100_000
    """Most files and folders in an archive."""
    max_unpacked_bytes: _Count = 4 * 2**30
    """Most bytes that an archive may unpack to."""
    max_archive_ratio: _Count = 100
    """Most unpacked bytes for each packed byte of an archive. `MAX_REQUEST_BYTES` are always
    allowed."""
    slow_upload_seconds: _Seconds = 10
    """An upload that takes longer than this for 64 KiB is ended with 408."""
    slow_download_seconds: _Seconds = 60
    """A streamed answer is ended if the client reads nothing of it for this long."""
    max_image_pixels: _Count = 50_000_000
    """Most pixels of a picture. They are read from its header, before it is decoded."""
    max_decode_seconds: _Seconds = 3
    """Processor time to decode one picture. An ordinary one takes less than 2 s."""
    max_decode_bytes: Annotated[int, Field(ge=2**20)] = 400 * 2**20
    """Memory to decode one picture. A WebP takes the most: 16 to 20 bytes for each pixel."""

    # Records
    result_ttl_seconds: _Count = 86_400
    """How long a finished job can be read, and how long a picture may wait for a worker."""
    cache_ttl_seconds: _CountOrZero = 86_400
    """How long the result cache answers for the same bytes; 0 turns the cache off."""

    # Logs, metrics and traces
    log_format: Literal["json", "text"] = "json"
    """`json` is ECS in JSON lines, `text` is for people."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least severe level that is logged."""
    metrics_port: Annotated[int, Field(ge=1, le=65534)] | None = None
    """Port of a worker's metrics; no metrics if not set. The quick start also uses the next port
    for its second worker."""
    prometheus_multiproc_dir: Path | None = None
    """Folder in which the processes of a program count together; a folder in `DATA_DIR` if not set
    and needed."""
    otel_exporter_otlp_endpoint: str | None = None
    """OTLP/HTTP collector that receives traces; no traces if not set."""
    task_events: bool = True
    """Workers send an event for every message to Flower and celery-exporter."""

    @field_validator(
        *("model_labels", "api_keys_file", "api_key", "redis_maxmemory", "metrics_port"),
        *("allowed_hosts", "allowed_origins"),
        *("prometheus_multiproc_dir", "webhook_secret"),
        *("flower_url", "grafana_url", "kibana_url", "otel_exporter_otlp_endpoint"),
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        """`MODEL_LABELS= make run` and an empty value in a Compose file both mean "not set"."""
        return None if value == "" else value

    @model_validator(mode="before")
    @classmethod
    def _ignore_addresses_of_services(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Kubernetes sets `WEB_PORT=tcp://…` in every Pod beside a Service of the name `web`."""
        links = [name for name, value in values.items() if _is_service_link(name, value)]
        for name in links:
            _warn_of_service_link(name.upper(), values[name])
        return {name: value for name, value in values.items() if name not in links}

    @model_validator(mode="after")
    def _deadline_outlives_a_batch(self) -> Settings:
        """Otherwise recovery would queue a part again while a worker is busy with it."""
        if self.part_deadline_seconds <= self.batch_time_limit_seconds:
            raise ValueError("PART_DEADLINE_SECONDS must be more than BATCH_TIME_LIMIT_SECONDS")
        return self

    @property
    def web_grace_seconds(self) -> int:
        """How long web may still answer clients after it was asked to stop."""
        return int(self.max_wait_seconds) + 5

    def heartbeat_file(self, program: str) -> Path:
        """The file that a worker's event loop touches; probes read it.

        `program` is a lane, or `webhooks`.
        """
        return self.data_dir / f"heartbeat-{program}"

    def metrics_dir(self, program: str) -> Path:
        """The folder in which the processes of one program count together."""
        return self.prometheus_multiproc_dir or self.data_dir / "metrics" / program


def share_metrics() -> Path | None:
    """The folder in which this program's processes count together; None if metrics are off.

    prometheus-client reads it only from the environment, so this sets it there for a worker with a
    metrics port. gunicorn's configuration does the same.
    """
    settings = Settings()
    if not settings.metrics_port and not settings.prometheus_multiproc_dir:
        return None
    folder = settings.metrics_dir(settings.lane)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _is_service_link(name: str, value: object) -> bool:
    link = isinstance(value, str) and value.startswith(("tcp://", "udp://", "sctp://"))
    return link and name.endswith("_port")


@cache  # A program reads its settings more than once.
def _warn_of_service_link(variable: str, value: str) -> None:
    logger.warning(
        "%s=%s is the address of a Kubernetes Service and not a setting, so it is ignored. To keep "
        "it away, set `enableServiceLinks: false` in the Pod.",
        variable,
        value,
    )
