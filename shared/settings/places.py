"""Where the service listens, and where it keeps its data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings

from shared.addresses.hosts import Host
from shared.addresses.redis_address import valid
from shared.settings.types import CountOrZero, Port


def _models_dir(valid: dict[str, Any]) -> Path:
    # If data_dir is not valid, it is missing here. The error about data_dir is reported.
    return Path(valid.get("data_dir", "data")) / "models"


def _torch_home(valid: dict[str, Any]) -> Path:
    return Path(valid.get("xdg_cache_home", "~/.cache")) / "torch"


class Places(BaseSettings):
    # Addresses and folders
    redis_url: Annotated[str, AfterValidator(valid)] = "redis://127.0.0.1:6379/0"
    """Redis, for messages, records and cached results; also with TLS, at a socket, or behind
    Sentinel. The quick start runs its own Redis if this is not set."""
    data_dir: Path = Path("data")
    """Folder for the quick start's Redis files and log, the heartbeats of workers, and metrics."""
    models_dir: Path = Field(default_factory=_models_dir)
    """Folder for exported models; `models` in `DATA_DIR` if not set."""
    xdg_cache_home: Path = Path("~/.cache")
    """Folder in which programs of the user cache files."""
    torch_home: Path = Field(default_factory=_torch_home)
    """Folder for downloaded weights, shared with torch; `torch` in `XDG_CACHE_HOME` if not set."""
    host: Host = "127.0.0.1"
    """Address or name that web and Flower listen on. The default accepts only this machine;
    `0.0.0.0` accepts every machine of the network."""
    web_port: Port = 8000
    """Port of the API."""
    flower_port: Port = 5555
    """Port of Flower in the quick start."""
    redis_maxmemory: Annotated[int, Field(ge=2**26)] | None = None
    """Bytes that the quick start's Redis may use, at least 64 MiB; a quarter of the memory if not
    set."""
    redis_wait_replicas: CountOrZero = 0
    """Replicas of Redis that must have a submission before it is answered. 0 waits for none."""
