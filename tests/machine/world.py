"""What surrounds the records in the state machine: virtual time, small parts, changed scripts.

The clock of Redis is virtual: `shared.clock` gives VirtualTime to the code under test. Redis itself
lets keys expire by real time, which hardly passes here. So each step of the virtual time shortens
the time to live of every key by as much, and deletes the keys whose time is over.

All steps, and all times to live of the records, are multiples of STEP. A key with less than half
a step left has expired. So the real time that an example takes, up to half a step, changes
nothing, and an example runs in the same way each time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from redis import Redis

from shared import clock
from shared.records.scripts import Script

STEP = 60  #: Seconds.
DEADLINE = STEP - 1  #: PART_DEADLINE_SECONDS: one step later a part is overdue.
TTL = 20 * STEP  #: RESULT_TTL_SECONDS.

#: Images in a part, so that a job of a few images has several parts.
PART_SIZE = 3

_PASS = """
local passed = tonumber(ARGV[1])
for _, key in ipairs(redis.call('KEYS', '*')) do
  local left = redis.call('PTTL', key)
  if left >= 0 and left - passed < tonumber(ARGV[2]) then
    redis.call('DEL', key)
  elseif left >= 0 then
    redis.call('PEXPIRE', key, left - passed)
  end
end
"""

_LEAST = """
local least = -1
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local left = redis.call('PTTL', key)
  if left >= 0 and (least < 0 or left < least) then
    least = left
  end
end
return least
"""


class VirtualTime:
    """The time of day of all processes and of Redis. It moves a little whenever it is read."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now

    def advance(self, steps: int) -> None:
        self.now += STEP * steps
        self._redis.eval(_PASS, 0, 1000 * STEP * steps, 500 * STEP)

    def until_expiry(self, pattern: str = "*") -> None:
        """Advance until the next key of this pattern expires; do nothing if there is none."""
        least = int(self._redis.eval(_LEAST, 0, pattern))
        if least >= 0:
            self.advance(max(1, round(least / 1000 / STEP)))


def rule(monkeypatch: pytest.MonkeyPatch, time: VirtualTime) -> None:
    """Let the processes of this test tell the virtual time."""
    monkeypatch.setattr(clock, "now", lambda redis: time())
    monkeypatch.setattr(clock, "reading", time)


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the limits small: what needs hundreds of images elsewhere needs a few here."""
    for module in _modules():
        if hasattr(module, "PART_SIZE"):
            monkeypatch.setattr(module, "PART_SIZE", PART_SIZE)
    for name, value in {
        "shared.records.ending.canceller._RELEASED_AT_ONCE": 1,
        "shared.records.overdue.recovery._AT_ONCE": 4,
        "shared.records.open_jobs.staging.BYTES_AT_ONCE": 10,
        "shared.records.images.BYTES_AT_ONCE": 10,
        "shared.records.accounts.account.HOUR": STEP,
        "shared.records.webhooks.outbox.MOST_OF_HOST": 2,
        "shared.records.webhooks.outbox.MOST_OF_CLIENT": 2,
    }.items():
        monkeypatch.setattr(name, value)
    replace(monkeypatch, "local PART_SIZE=32", f"local PART_SIZE={PART_SIZE}")
    replace(monkeypatch, "/ 3600)", f"/ {STEP})")
    replace(monkeypatch, "local READY = 2", "local READY = 1")


def replace(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """Change the text of every script that contains `old`."""
    changed = [script for script in _scripts() if old in script.text]
    assert changed, f"no script contains {old!r}"
    for script in changed:
        monkeypatch.setattr(script, "text", script.text.replace(old, new))


def _modules() -> list[ModuleType]:
    return [module for name, module in sys.modules.items() if name.startswith("shared.")]


def _scripts() -> Iterator[Script]:
    for module in _modules():
        yield from (value for value in vars(module).values() if isinstance(value, Script))
