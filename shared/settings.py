"""Settings: every environment variable that the service reads, typed, with its reason."""

from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.jobs import Lane

logger = logging.getLogger(__name__)

# ONNX Runtime's wheels tell their maker of every model that is loaded, unless this is set before
# they are imported. Whoever wants that sets 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

#: Where Compose and our Kubernetes manifests mount what must not be seen, one file a value.
SECRETS = Path("/run/secrets")


def _cores() -> int:
    """Cores that this process may use: a container's CPU set, not the machine's count."""
    return len(os.sched_getaffinity(0))


def _half_of_cores() -> int:
    """Web takes a sixth of what its pictures take, and its processes share nothing that waits."""
    return max(1, _cores() // 2)


def _models_dir(known: dict[str, Any]) -> Path:
    # A data_dir that was refused is missing here; its own error is the one that is told.
    return Path(known.get("data_dir", "data")) / "models"


def _is_service_link(name: str, value: object) -> bool:
    link = isinstance(value, str) and value.startswith(("tcp://", "udp://", "sctp://"))
    return link and name.endswith("_port")


@cache  # A program reads its settings more than once.
def _warn_of_service_link(variable: str, value: str) -> None:
    logger.warning(
        "%s=%s is the address of a Service and no setting. It is ignored; "
        "`enableServiceLinks: false` in the Pod keeps it away.",
        variable,
        value,
    )


#: A link on the page: never a `javascript:`.
_WEB_ADDRESS = "^https?://"


class Settings(BaseSettings):
    """One immutable object, read once at start.

    A field `max_batch_size` is the environment variable `MAX_BATCH_SIZE`, or else the content of
    the file `max_batch_size` in SECRETS: an address with a password is no matter for an
    environment, which child processes inherit and tools show. A malformed value stops the process
    with the variable's name. docs/settings.md lists the same fields; a test compares.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        protected_namespaces=(),
        # pydantic-settings warns of a folder that is not there.
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
        # What is malformed may be a secret: an error names the variable and not its value.
        hide_input_in_errors=True,
    )

    # Where things are
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="Broker, records, result cache; `unix://` and a path for a socket. "
        "The quick start runs its own unless set.",
    )
    data_dir: Path = Field(
        Path("data"), description="Quick start's Redis files, a worker's heartbeat, metrics."
    )
    models_dir: Path = Field(
        default_factory=_models_dir,
        description="Exported models; unset: `models/` in `DATA_DIR`.",
    )
    host: str = Field(
        "127.0.0.1",
        description="Address that web and Flower listen on: loopback unless you say so.",
    )
    web_port: int = Field(8000, description="Port of the API.", ge=1, le=65535)
    flower_port: int = Field(5555, description="Port of Flower in the quick start.", ge=1, le=65535)
    redis_maxmemory: int | None = Field(
        None,
        description="Bytes that the quick start's Redis may use; unset: a quarter of the memory.",
        ge=2**26,
    )

    # The model
    model: str = Field(
        "mobilenet_v3_large", description="Any torchvision classification model, by name."
    )
    model_weights: str = Field(
        "DEFAULT",
        description="`DEFAULT` (torchvision's), a `.pth` or `.safetensors` file, `demonstration` "
        "(ten classes, without a download) or `random`.",
    )
    model_labels: Path | None = Field(
        None, description="A file with one label per line; needed where the model brings none."
    )
    engine: Literal["auto", "onnxruntime", "torch"] = Field(
        "auto", description="`auto`: torch on a CUDA card, ONNX Runtime on a CPU."
    )

    # Workers
    lane: Lane = Field(Lane.INTERACTIVE, description="Lane that a worker serves.")
    worker_processes: int = Field(
        default_factory=_cores, description="Pool processes of a worker; one per core.", ge=1
    )
    max_batch_size: int = Field(32, description="Most images in one micro-batch.", ge=1, le=1024)
    batch_time_limit_seconds: int = Field(
        45, description="A pool process busy with one micro-batch for longer is killed.", ge=1
    )
    part_deadline_seconds: int = Field(
        60, description="Time by which an accepted part must show life.", ge=1
    )

    reconcile_seconds: float = Field(
        5, description="How often a worker looks for parts that show no life.", gt=0
    )
    stall_seconds: float = Field(
        30, description="A worker that takes nothing of a full queue for this long ends.", gt=0
    )

    # Web
    web_processes: int = Field(
        default_factory=_half_of_cores,
        description="gunicorn processes; in a container 1.",
        ge=1,
    )
    wait_seconds: float = Field(
        30, description="How long `POST /classify` waits before it answers 202.", ge=0
    )
    max_wait_seconds: float = Field(
        55, description="Longest wait a client may ask for; under a proxy's usual 60 s.", ge=0
    )
    max_unfinished_messages: int = Field(
        4, description="Interactive messages under way per web process before more gather.", ge=1
    )
    max_concurrent_submissions: int = Field(
        1_000,
        description="Uploads that a web process reads or keeps waiting at a time; "
        "more are refused.",
        ge=1,
    )
    max_event_streams: int = Field(
        500, description="Streams of events that a web process keeps open at a time.", ge=1
    )

    # Who may ask, and how much
    api_keys_file: Path | None = Field(
        None,
        description="Keys as `name:sha256`, one a line, re-read when it changes; unset: no keys.",
    )
    api_key: str | None = Field(
        None, description="Key that the quick start asks with, where it has an `API_KEYS_FILE`."
    )
    rate_limit_per_minute: int = Field(
        0,
        description="Requests a minute of one key, or of one address without keys; 0: no limit.",
        ge=0,
    )
    trusted_proxies: int = Field(
        0, description="Proxies in front whose `X-Forwarded-For` tells the client's address.", ge=0
    )
    max_outstanding_interactive: int = Field(
        2_000,
        description="Images accepted and not yet done: what two cores answer within a wait.",
        ge=1,
    )
    max_outstanding_bulk: int = Field(
        100_000, description="The same for `bulk`: a quarter of an hour's work of two cores.", ge=1
    )
    max_bytes_held: int = Field(
        2**30,
        description="Bytes of images that wait in Redis; `bulk` may fill four fifths of it.",
        ge=1,
    )

    # The page
    flower_url: str | None = Field(
        None,
        description="Where a browser finds Flower, for the page's link; the quick start tells it.",
        pattern=_WEB_ADDRESS,
    )
    grafana_url: str | None = Field(None, description="The same for Grafana.", pattern=_WEB_ADDRESS)
    kibana_url: str | None = Field(None, description="The same for Kibana.", pattern=_WEB_ADDRESS)
    # Webhooks
    webhooks: bool = Field(
        False,
        description="Jobs may name an address to be told of their end; "
        "the quick start runs a worker for it.",
    )
    webhook_secret: SecretStr | None = Field(
        None, description="Signs webhooks: `whsec_` and the base64 of 24 to 64 random bytes."
    )
    webhook_timeout_seconds: float = Field(
        15, description="Longest time that a receiver may take for its answer.", gt=0
    )
    webhook_allow_private: bool = Field(
        False,
        description="Dangerous: webhooks may go to this machine and its network. "
        "For tests and closed networks.",
    )

    # Input
    max_image_bytes: int = Field(20 * 2**20, description="Largest picture, in bytes.", ge=1)
    # A job is one transaction, and Redis has a second for it.
    max_request_bytes: int = Field(64 * 2**20, description="Largest request body, in bytes.", ge=1)
    max_job_images: int = Field(
        500_000, description="Most pictures in a job that is opened for parts.", ge=1, le=1_000_000
    )
    max_archive_bytes: int = Field(
        2**30, description="Largest archive, in bytes; it waits on disk while it is read.", ge=1
    )
    max_archive_members: int = Field(
        100_000, description="Most files and folders in an archive.", ge=1
    )
    max_unpacked_bytes: int = Field(
        4 * 2**30, description="Most bytes that an archive may unpack to.", ge=1
    )
    max_archive_ratio: int = Field(
        100,
        description="Unpacked by packed bytes of an archive; "
        "as much as one request may carry is always allowed.",
        ge=1,
    )
    slow_upload_seconds: float = Field(
        10, description="An upload that takes longer than this for 64 KiB is ended with 408.", gt=0
    )
    slow_download_seconds: float = Field(
        60, description="A stream of which nothing is read for this long is ended.", gt=0
    )
    max_image_pixels: int = Field(
        50_000_000, description="Most pixels, read from the header before decoding.", ge=1
    )
    max_decode_seconds: float = Field(
        3,
        description="Processor time for decoding one picture; an honest one takes less than 2 s.",
        gt=0,
    )
    max_decode_bytes: int = Field(
        400 * 2**20,
        description="Memory for decoding one picture. A WebP takes most, 16 to 20 bytes a pixel.",
        ge=2**20,
    )

    # Records
    result_ttl_seconds: int = Field(
        86_400,
        description="How long a finished job can be read; also how long images may wait.",
        ge=1,
    )
    cache_ttl_seconds: int = Field(
        86_400, description="How long a result answers for the same bytes; 0 turns it off.", ge=0
    )

    # Seeing it
    log_format: Literal["json", "text"] = Field(
        "json", description="ECS JSON lines, or text for people."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe line that is written."
    )
    metrics_port: int | None = Field(
        None,
        description="Port of a worker's metrics; unset: none. The quick start also takes the next.",
        ge=1,
        le=65534,
    )
    prometheus_multiproc_dir: Path | None = Field(
        None, description="Where processes count together; unset: in `DATA_DIR` where it is needed."
    )
    otel_exporter_otlp_endpoint: str | None = Field(
        None, description="OTLP/HTTP collector that spans are sent to; unset: no tracing is loaded."
    )
    task_events: bool = Field(
        True, description="Workers tell Flower and celery-exporter of every message."
    )

    @field_validator(
        *("model_labels", "api_keys_file", "api_key", "redis_maxmemory", "metrics_port"),
        *("prometheus_multiproc_dir", "webhook_secret"),
        *("flower_url", "grafana_url", "kibana_url", "otel_exporter_otlp_endpoint"),
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        """`MODEL_LABELS= make run` and an empty value in a compose file both mean "none"."""
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
        """A part that is still being worked on must not be taken for dead."""
        if self.part_deadline_seconds <= self.batch_time_limit_seconds:
            raise ValueError("PART_DEADLINE_SECONDS must be more than BATCH_TIME_LIMIT_SECONDS")
        return self

    def heartbeat_file(self, program: str) -> Path:
        """Touched by the event loop of a lane's worker or the `webhooks` one; read by probes."""
        return self.data_dir / f"heartbeat-{program}"

    def metrics_dir(self, program: str) -> Path:
        """Where the processes of one program count together."""
        return self.prometheus_multiproc_dir or self.data_dir / "metrics" / program


def share_metrics() -> Path | None:
    """The folder in which this program's processes count together; None where it is one process.

    In a worker with a metrics port it is put into the environment, the one place in which
    prometheus-client looks; gunicorn's configuration does the same.
    """
    settings = Settings()
    if not settings.metrics_port and not settings.prometheus_multiproc_dir:
        return None
    folder = settings.metrics_dir(settings.lane)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
