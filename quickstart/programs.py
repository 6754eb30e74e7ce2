"""The programs of the quick start and their arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.settings import Settings

#: Time that gunicorn needs to end when its own grace time is over.
_GUNICORN_ENDS_SECONDS = 5.0


@dataclass(frozen=True)
class Program:
    """A Python module that runs as a process of its own."""

    name: str
    #: The module and its arguments, as `python -m` takes them.
    command: list[str]
    #: Variables beside those that all programs share.
    environment: Mapping[str, str] = field(default_factory=dict)
    #: How long it may need for the answers of its clients when it stops; 0 if it has none.
    answer_seconds: float = 0.0
    #: Whether its lines are for the user.
    for_user: bool = False


def programs(settings: Settings) -> list[Program]:
    """Every program but Redis, in the order of their start."""
    every = [
        Program(
            "web",
            ["gunicorn", "-c", "web/server/gunicorn.conf.py", "web.app:create_app()"],
            # gunicorn itself ends the last connections after the grace time.
            answer_seconds=settings.web_grace_seconds + _GUNICORN_ENDS_SECONDS,
        ),
        Program("interactive", _worker("workers.app", "interactive"), {"LANE": "interactive"}),
        Program("bulk", _worker("workers.app", "bulk"), {"LANE": "bulk"} | _next_port(settings)),
    ]
    if settings.webhooks:
        every.append(Program("webhooks", _worker("workers.webhooks.app", "webhooks")))
    ready = Program("ready", ["quickstart.ready"], for_user=True)
    return [*every, Program("flower", _flower(settings)), ready]


def _worker(app: str, name: str) -> list[str]:
    options = ["-n", f"{name}@%h", "--without-mingle", "--without-gossip"]
    return ["celery", "--quiet", "-A", app, "worker", *options]


def _next_port(settings: Settings) -> dict[str, str]:
    """Each worker serves its metrics on a port of its own."""
    return {"METRICS_PORT": str(settings.metrics_port + 1)} if settings.metrics_port else {}


def _flower(settings: Settings) -> list[str]:
    address = [f"--address={settings.host}", f"--port={settings.flower_port}"]
    # Flower keeps what it shows in memory: the last tasks, and workers seen in the last minutes.
    limits = ["--read_only", "--max_tasks=1000", "--purge_offline_workers=600"]
    return [
        *["celery", "--quiet", "-A", "workers.flower", "flower"],
        *address,
        *limits,
        "--logging=error",
    ]
