"""The connection of a command to the service."""

from __future__ import annotations

import argparse

from ..api.transport.connection import OnRetry
from ..api.transport.retries import Retries
from ..api.service import ImageClassifier
from ..errors import ImageClassifierError
from .output import print_error
from .progress import duration

#: A user waits for the command. So it soon reports that the service does not answer.
PATIENCE_SECONDS = 15.0


def connect(
    options: argparse.Namespace,
    *,
    on_retry: OnRetry | None = None,
    retries: Retries | None = None,
) -> ImageClassifier:
    # A wrong address is reported at once. A service that restarts is waited for.
    usual = Retries(total_seconds=PATIENCE_SECONDS, wait_for_service=False)
    return ImageClassifier(
        options.url, retries=retries or usual, on_retry=on_retry or _report_retry
    )


def _report_retry(error: ImageClassifierError, pause: float) -> None:
    print_error(f"{error} Trying again in {duration(pause)}.")
