"""`python -m quickstart`: Redis, web, a worker for each lane and Flower, until Ctrl-C."""

from __future__ import annotations

from contextlib import ExitStack

from redis import Redis

from quickstart import process_group, redis_server
from quickstart.addresses import flower_url
from quickstart.command import command
from quickstart.fallback import fallback
from quickstart.ports import check_ports
from quickstart.programs import programs
from shared import model_info
from shared.errors import ClassifierError
from shared.settings import Settings


def main() -> None:
    with command("quickstart") as settings:
        run(settings)


def run(settings: Settings) -> None:
    """Run everything until a signal asks for the stop.

    Raises ClassifierError where the service cannot start, or where one of its programs ended.
    """
    check_ports(settings)
    model = fallback(settings)
    redis = None
    with ExitStack() as stack:
        if "redis_url" not in settings.model_fields_set:
            # It starts first and so stops last: workers give back their work to it.
            redis = stack.enter_context(
                redis_server.serving(
                    settings.data_dir / "redis", max_memory_bytes=settings.redis_maxmemory
                )
            )
            _forget_model(redis.url)
        reason = process_group.run(
            programs(settings),
            _environment(settings, redis.url if redis else settings.redis_url) | model,
            redis=redis.process if redis else None,
        )
    if reason:
        raise ClassifierError(f"{reason}, so everything was stopped. Its lines above say why.")


def _forget_model(redis_url: str) -> None:
    """The workers of the last start may have announced another model."""
    with Redis.from_url(redis_url) as redis:
        model_info.forget(redis)


def _environment(settings: Settings, redis_url: str) -> dict[str, str]:
    """Variables for every program, beside those that it inherits."""
    log_format = settings.log_format if "log_format" in settings.model_fields_set else "text"
    return {
        "REDIS_URL": redis_url,
        "FLOWER_URL": settings.flower_url or flower_url(settings),
        "LOG_FORMAT": log_format,
    }


if __name__ == "__main__":
    main()
