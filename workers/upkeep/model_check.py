"""A worker starts only with a model that it can load."""

from __future__ import annotations

import logging
import subprocess
import sys

from shared.errors import ModelError
from shared.jobs import Lane
from shared.settings import Settings
from workers.engine import cpu, find_export, require_card, unused_card, uses_torch
from workers.engine.package import find_package

logger = logging.getLogger(__name__)


def at_start(settings: Settings) -> None:
    """Make the export if there is none. Without a model every batch would fail: SystemExit."""
    try:
        require_card(settings)
        if settings.lane is Lane.INTERACTIVE:  # One line is enough.
            _log_what_is_unused(settings)
        if not uses_torch(settings):
            _ensure_export(settings)
    except ModelError as error:
        logger.critical("%s", error)
        raise SystemExit(2) from error


def _log_what_is_unused(settings: Settings) -> None:
    if unused_card(settings):
        packaged = find_package(settings)
        use = "model packages do not use it" if packaged else "to use it, run `make torch` once"
        logger.warning("this machine has a graphics card; %s", use)
    elif not uses_torch(settings) and cpu.unused_bf16(settings):
        logger.warning(
            "this processor computes in bf16, which is faster; to use it, run `make openvino` once "
            "and start again"
        )


def _ensure_export(settings: Settings) -> None:
    """Make and check the export in a process of its own, so that torch's memory is freed."""
    if not find_export(settings):
        logger.info("exporting the model; this happens once")
    elif not cpu.may_be_refused(settings) and not find_package(settings):
        return
    command = [sys.executable, "-m", "workers.engine.export"]
    exported = subprocess.run(command, check=False, capture_output=True, text=True)
    if exported.returncode:
        raise ModelError(exported.stderr.strip())
