"""A web application whose gunicorn receives SIGTERM while the application is still being loaded."""

from __future__ import annotations

import os
import signal
import time

from flask import Flask

from web import app


def create_app() -> Flask:
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(1)  # gunicorn passes the signal on to this process meanwhile
    return app.create_app()
