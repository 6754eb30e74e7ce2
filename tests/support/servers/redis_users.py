"""The users of docs/redis-users.acl in a Redis of the tests.

Tests give each program the address of its user, so a command without its right fails.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redis import Redis

_FILE = Path(__file__).parents[3] / "docs/redis-users.acl"


def lines() -> dict[str, str]:
    """The line of each program's user in the file. The tests themselves need no password."""
    by_user = {line.split()[1]: line for line in _FILE.read_text().splitlines()}
    del by_user["default"]
    return by_user


def create(redis: Redis) -> None:
    """Create the users, each with the password that the file shows."""
    for line in lines().values():
        _, *words = line.split()
        redis.execute_command("ACL", "SETUSER", *words)


def address(url: str, user: str) -> str:
    """The address of a Redis for one of its users."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{user}:{user.upper()}_PASSWORD@{rest.rpartition('@')[2]}"


def refusals(redis: Redis) -> list[dict[str, Any]]:
    """Commands that Redis refused to one of the users. A refused CONFIG only means fewer checks."""
    log = [each for each in redis.acl_log() if each["username"] in lines()]
    return [each for each in log if not each["object"].startswith("config")]
