"""A tether: the kernel ends a process as soon as its parent has ended, even by SIGKILL."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from billiard.util import set_pdeathsig


def tether(parent: int, signum: signal.Signals) -> None:
    """Let the kernel send `signum` to this process when `parent`, which started it, has ended.

    Only Linux can do this. Elsewhere the process outlives a parent that was killed by SIGKILL.
    """
    with suppress(OSError):
        set_pdeathsig(signum)
    # The parent may have ended before the call above.
    if os.getppid() != parent:
        os.kill(os.getpid(), signum)
