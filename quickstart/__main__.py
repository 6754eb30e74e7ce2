"""`python -m quickstart`: Redis, web, a worker for each lane and Flower, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from multiprocessing import get_context
from pathlib import Path

from redis import Redis

from quickstart import process_group, redis_server
from quickstart.addresses import flower_url
from quickstart.command import command
from quickstart.fallback import fallback
from quickstart.log_file import LogFile, path
from quickstart.ports import check_ports
from quickstart.programs import Program, programs
from quickstart.screen import Screen
from shared.errors import ClassifierError
from shared.jobs import Lane
from shared.records.job_records import JobRecords
from shared.serving import model_versions
from shared.settings import Settings


def main() -> None:
    argparse.ArgumentParser(
        prog="python -m quickstart",
        description="Run Redis, web, a worker for each lane and Flower, until Ctrl-C.",
        epilog="Its settings are environment variables: docs/settings.md lists them.",
    ).parse_args()
    with command("quickstart") as settings:
        run(settings)


def run(settings: Settings) -> None:
    """Run everything until a signal asks for the stop.

    Raises ClassifierError where the service cannot start, or where one of its programs ended.
    """
    check_ports(settings)
    _check_semaphores()
    every = programs(settings)
    # The log comes first, because it makes the folder.
    with closing(LogFile(settings.data_dir)) as log, redis_server.locked(settings.data_dir):
        _check_models_dir(settings.models_dir)
        screen = screen_for(settings, every, log)
        if reason := _run(settings, every, screen):
            raise ClassifierError(
                f"{reason}, so everything was stopped. The log is {path(settings.data_dir)}"
            )
        screen.say("Stopped.")


def _run(settings: Settings, every: Sequence[Program], screen: Screen) -> str | None:
    """Returns why everything was stopped, unless a signal asked for it."""
    with ExitStack() as stack:
        redis = None
        if "redis_url" not in settings.model_fields_set:
            # It starts first and so stops last: workers give back their work to it.
            redis = stack.enter_context(
                redis_server.serving(
                    settings.data_dir / "redis", max_memory_bytes=settings.redis_maxmemory
                )
            )
            _forget_workers(settings, redis.url)
        model = fallback(settings)
        names = ", ".join(each.name for each in every if not each.for_user)
        screen.say(f"Starting {names}. The log is {path(settings.data_dir)}")
        return process_group.run(
            every,
            _environment(settings, redis.url if redis else settings.redis_url) | model,
            screen=screen,
            redis=redis.process if redis else None,
        )


def screen_for(settings: Settings, every: Sequence[Program], log: LogFile) -> Screen:
    """All lines are shown to a user who has set LOG_LEVEL or LOG_FORMAT."""
    return Screen(
        sys.stdout,
        [each.name for each in every],
        calm=not settings.model_fields_set & {"log_level", "log_format"},
        for_user=[each.name for each in every if each.for_user],
        log=log,
    )


def _check_semaphores() -> None:
    """The main process of a worker shares them with its pool processes."""
    try:
        get_context("fork").Semaphore()
    except OSError as error:
        raise ClassifierError(
            f"cannot share memory between processes ({error.strerror}): mount a tmpfs with mode "
            "1777 on /dev/shm, which every Linux system and every container usually has"
        ) from error


def _check_models_dir(folder: Path) -> None:
    """An export in it is enough, for example in a read-only image."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable and not list(folder.glob("*.onnx")):
        raise ClassifierError(
            f"cannot write to the folder {folder}: set MODELS_DIR to a folder that you may write to"
        )


def _forget_workers(settings: Settings, redis_url: str) -> None:
    """Those of the last start may have had another model, or were killed at their work."""
    with Redis.from_url(redis_url) as redis:
        model_versions.forget(redis)
        recovery = JobRecords.from_settings(redis, settings).recovery
        for lane in Lane:
            recovery.expire_deadlines(lane)


def _environment(settings: Settings, redis_url: str) -> dict[str, str]:
    """Variables for every program, beside those that it inherits."""
    log_format = settings.log_format if "log_format" in settings.model_fields_set else "text"
    return {
        "REDIS_URL": redis_url,
        "FLOWER_URL": settings.flower_url or flower_url(settings),
        "LOG_FORMAT": log_format,
        # The launcher reads UTF-8, whatever the locale is.
        "PYTHONIOENCODING": "utf-8:backslashreplace",
    }


if __name__ == "__main__":
    main()
