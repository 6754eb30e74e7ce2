"""The first thing that each program does: it reads the settings, or its log says why it cannot.

A traceback on standard error has many lines of plain text, and the log stack keeps only our own
JSON lines. So a program that cannot start writes one line, like every other line of its log.
"""

from __future__ import annotations

import logging
import sys
from functools import partial
from types import TracebackType

from pydantic import ValidationError

from shared.observe import log
from shared.settings import Settings
from shared.settings.observe import ObserveSettings

logger = logging.getLogger(__name__)


def read_settings(service: str) -> Settings:
    """The settings. From now on, an exception that nothing catches is logged in one line.

    If a value is not valid, the program logs the variable and ends with status 2.
    """
    sys.excepthook = partial(_log_uncaught, service)
    try:
        return Settings()
    except ValidationError as error:
        log.configure(_of_the_log(), service)
        logger.critical("%s", _problems(error))
        raise SystemExit(2) from error


def _of_the_log() -> ObserveSettings:
    """The settings of the log alone. One of them may be the one that is not valid."""
    try:
        return ObserveSettings()
    except ValidationError:
        return ObserveSettings.model_construct()


def _problems(error: ValidationError) -> str:
    """Names the variables and never their values, which may be secrets."""
    problems = []
    for each in error.errors(include_input=False, include_url=False):
        if each["type"] == "default_factory_not_called":  # because another value is not valid
            continue
        name = "_".join(map(str, each["loc"])).upper()
        problems.append(f"{name}: {each['msg']}" if name else each["msg"])
    return f"a setting is not valid: {'; '.join(problems)}"


def _log_uncaught(
    service: str, kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    log.configure(_of_the_log(), service)  # The program may end before it does this itself.
    logger.critical("the program ends: %s", error, exc_info=(kind, error, traceback))
