"""Keeps the machine's own environment out of the tests."""

from __future__ import annotations

import functools
import os
import ssl
from typing import Any

from httpx._transports import default as transports

from shared.settings import Settings

#: The environment as it was, for a download that needs the machine's proxy and home.
MACHINE = dict(os.environ)

_NAMES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "torch_home"}
_NAMES |= {"ssl_cert_file", "ssl_cert_dir", "sslkeylogfile", "requests_ca_bundle", "curl_ca_bundle"}
_NAMES |= set(Settings.model_fields)
_PREFIXES = ("LC_", "LANG", "OTEL_", "XDG_", "IMAGE_CLASSIFIER_")


def leave_out(home: str) -> None:
    """Remove proxies, certificates, our settings, caches and the locale from the environment.

    HOME is `home`, and the umask is the usual one. The precision is fp32 on every processor; tests
    of bf16 say so.
    """
    os.umask(0o022)
    for name in list(os.environ):
        if name.lower() in _NAMES or name.startswith(_PREFIXES):
            del os.environ[name]
    os.environ |= {"HOME": home, "LC_ALL": "C.UTF-8", "TZ": "UTC", "PRECISION": "fp32"}


def read_certificates_once() -> None:
    """All clients with httpx's own certificates share them. To read them takes 20 ms.

    Tests ask the service thousands of times, and seldom by https.
    """
    make = transports.create_ssl_context
    ready = functools.cache(make)

    def context(verify: Any = True, **options: Any) -> ssl.SSLContext:
        return ready() if verify is True else make(verify, **options)

    transports.create_ssl_context = context
