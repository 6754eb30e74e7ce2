"""The worker, which makes its model the current one soon after the last worker of that has gone."""

from __future__ import annotations

from shared.serving import model_versions
from workers.app import app

__all__ = ["app"]

model_versions._TAKE_OVER_SECONDS = 2
