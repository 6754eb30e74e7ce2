"""Keeps the machine's own environment out of the tests."""

from __future__ import annotations

import os

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
