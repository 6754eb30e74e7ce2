"""The web application, with a call that looks at its own process."""

from __future__ import annotations

import gc
import time

import greenlet  # type: ignore[import-untyped]
from flask import Flask

from web import app
from web.server.fairness.pacing import current_client
from web.server.fairness.rests import RESTS


def create_app() -> Flask:
    application = app.create_app()

    @application.get("/look")
    def look() -> dict[str, object]:
        return {
            "rests_for": RESTS._until.get(current_client(), 0.0) - time.perf_counter(),
            "is_watched": greenlet.gettrace() is not None,
            "frozen": gc.get_freeze_count(),
        }

    @application.get("/work")
    def work() -> str:
        """Takes a second of the event loop."""
        ends_at = time.perf_counter() + 1
        while time.perf_counter() < ends_at:
            pass
        return "done"

    return application
