"""The settings: every environment variable that the service reads, with its type and meaning."""

from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator
from pydantic_settings import SettingsConfigDict

from shared.settings.limits import LimitSettings
from shared.settings.observe import ObserveSettings
from shared.settings.places import Places
from shared.settings.web import WebSettings
from shared.settings.workers import WorkerSettings

logger = logging.getLogger(__name__)

# Unless this is set before ONNX Runtime is imported, its wheels report every loaded model to their
# maker. An operator who wants the reports sets 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

#: The folder where Compose and our Kubernetes manifests mount secrets, one file for each value.
SECRETS = Path("/run/secrets")


# pydantic collects the fields of the last class first.
class Settings(ObserveSettings, LimitSettings, WebSettings, WorkerSettings, Places):
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

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, values: dict[str, Any]) -> dict[str, Any]:
        """`WEB_PORT= make run` and an empty value in a Compose file both mean "not set"."""
        return {name: value for name, value in values.items() if value != ""}

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

    @model_validator(mode="after")
    def _engine_has_the_precision(self) -> Settings:
        if self.precision == "bf16" and self.engine not in ("auto", "openvino"):
            raise ValueError("PRECISION=bf16 needs ENGINE=openvino or auto")
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
    try:
        settings = Settings()
    except ValidationError:
        return None  # The program ends, and its log says why (shared.observe.start).
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
