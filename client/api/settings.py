"""The environment variables that the client reads."""

from __future__ import annotations

import os

_DEFAULT_URL = "http://127.0.0.1:8000"


def url() -> str:
    """IMAGE_CLASSIFIER_URL: the address of the service."""
    return os.environ.get("IMAGE_CLASSIFIER_URL") or _DEFAULT_URL


def api_key() -> str | None:
    """IMAGE_CLASSIFIER_API_KEY. There is no option for it: other users can see a command's
    arguments."""
    return os.environ.get("IMAGE_CLASSIFIER_API_KEY") or None
