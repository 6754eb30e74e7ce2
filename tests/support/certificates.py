"""Keeps httpx from reading the machine's certificates again for each client."""

from __future__ import annotations

import functools
import ssl
from typing import Any

from httpx._transports import default as transports


def read_once() -> None:
    """All clients with httpx's own certificates share them. To read them takes 20 ms.

    Tests ask the service thousands of times, and seldom by https.
    """
    make = transports.create_ssl_context
    ready = functools.cache(make)

    def context(verify: Any = True, **options: Any) -> ssl.SSLContext:
        return ready() if verify is True else make(verify, **options)

    transports.create_ssl_context = context
