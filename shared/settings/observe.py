"""Logs, metrics and traces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings


class ObserveSettings(BaseSettings):
    # Logs, metrics and traces
    log_format: Literal["json", "text"] = "json"
    """`json` is ECS in JSON lines, `text` is for people."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least severe level that is logged. If it is not set, the quick start shows only warnings
    and errors, and its log in `DATA_DIR` has all lines from `INFO`."""
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
