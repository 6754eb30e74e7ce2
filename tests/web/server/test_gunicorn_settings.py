"""What a web process sets for itself."""

from __future__ import annotations

import runpy
import sys
from types import SimpleNamespace

import pytest

from shared.observe import metrics


def test_threads_leave_the_event_loop_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "count_as", lambda name: None)
    before = sys.getswitchinterval()
    try:
        settings = runpy.run_path("web/server/gunicorn.conf.py")
        settings["post_fork"](None, SimpleNamespace(number=0))
        assert sys.getswitchinterval() < 0.001
    finally:
        sys.setswitchinterval(before)
