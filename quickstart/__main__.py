"""`python -m quickstart`: Redis, web, a worker per lane and Flower, until Ctrl-C."""

from __future__ import annotations

from contextlib import ExitStack

from redis import Redis

from quickstart import redis_server
from quickstart.command import command
from quickstart.fallback import fallback
from quickstart.ports import check_ports
from quickstart.processes import run_processes
from quickstart.ready import flower_url
from shared import model_info
from shared.errors import ClassifierError
from shared.settings import Settings


def main() -> None:
    with command("quickstart") as settings:
        run(settings)


def run(settings: Settings) -> None:
    """Run everything until asked to stop. Raises ClassifierError when it cannot run or go on."""
    check_ports(settings)
    model = fallback(settings)
    with ExitStack() as stack:
        redis_url = settings.redis_url
        if "redis_url" not in settings.model_fields_set:
            # Entered first, so stopped last: workers give back their work to it.
            server = redis_server.running(
                settings.data_dir / "redis", max_memory_bytes=settings.redis_maxmemory
            )
            redis_url = stack.enter_context(server)
            _forget_model(redis_url)
        ended = run_processes(
            _environment(settings, redis_url) | model,
            without=() if settings.webhooks else ("webhooks",),
        )
    if ended:
        raise ClassifierError(f"stopped because a program ended: {ended}; its lines say why")


def _forget_model(redis_url: str) -> None:
    """What the last start's workers had loaded may be another than these will."""
    with Redis.from_url(redis_url) as redis:
        model_info.forget(redis)


def _environment(settings: Settings, redis_url: str) -> dict[str, str]:
    """What the programs get to know beyond the environment that they inherit."""
    log_format = settings.log_format if "log_format" in settings.model_fields_set else "text"
    return {
        "REDIS_URL": redis_url,
        "HOST": settings.host,
        "FLOWER_PORT": str(settings.flower_port),
        "FLOWER_URL": settings.flower_url or flower_url(settings),
        "LOG_FORMAT": log_format,
    }


if __name__ == "__main__":
    main()
