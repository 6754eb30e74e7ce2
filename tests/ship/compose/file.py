"""How the tests read docker-compose.yml."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
FILE = ROOT / "docker-compose.yml"
#: It is read after the other one.
USERS = ROOT / "docker-compose.redis-users.yml"
#: The images that are built here.
OURS = "image-classifier/"
#: Services that do their work and end.
ONCE = {"locust", "kibana-user", "logging-setup"}

Services = dict[str, dict[str, Any]]
#: Runs a command for the length of a block.
Run = Callable[..., AbstractContextManager[subprocess.Popen[bytes]]]


def default(text: str) -> str:
    """What Compose puts for `${NAME:-default}` where the variable is not set."""
    return re.sub(r"\$\{\w+:?-([^}]*)\}", r"\1", str(text)).replace("$$", "$")


def in_bytes(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)([kmg])b?", default(text)).groups()  # type: ignore
    return float(number) * {"k": 2**10, "m": 2**20, "g": 2**30}[unit]


def in_seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def nginx() -> str:
    """The whole configuration of nginx."""
    return "".join(path.read_text() for path in (ROOT / "nginx").glob("*.conf"))
