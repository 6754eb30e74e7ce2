"""Keeps the machine's own environment out of the tests."""

from __future__ import annotations

import os

from shared.settings import Settings

#: The environment as it was, for a download that needs the machine's proxy and home.
MACHINE = dict(os.environ)

_NAMES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "torch_home"}
_NAMES |= set(Settings.model_fields)
_PREFIXES = ("LC_", "LANG", "OTEL_", "XDG_")


def leave_out(home: str) -> None:
    """Remove proxies, our settings, caches and the locale from the environment; HOME is `home`."""
    for name in list(os.environ):
        if name.lower() in _NAMES or name.startswith(_PREFIXES):
            del os.environ[name]
    os.environ |= {"HOME": home, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
