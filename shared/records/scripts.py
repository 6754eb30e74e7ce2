"""Lua scripts that Redis runs as one step each."""

from __future__ import annotations

from pathlib import Path

_LUA = Path(__file__).parent


def script(*names: str) -> str:
    """The text of scripts, one after the other: functions first, then what calls them.

    Sent whole each time: a kilobyte or two on loopback, and no NOSCRIPT after a Redis restart.
    Without its comments, which Redis would read at every call.
    """
    lines = [line for name in names for line in (_LUA / f"{name}.lua").read_text().splitlines()]
    return "\n".join(line for line in lines if not line.lstrip().startswith("--"))
