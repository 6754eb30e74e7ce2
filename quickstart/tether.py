"""A tether: the kernel ends a process when its parent ends, however that happens."""

from __future__ import annotations

import os
import signal

from billiard.util import set_pdeathsig


def tether(parent: int, signum: signal.Signals) -> None:
    """Have this process receive `signum` as soon as `parent`, which started it, has ended."""
    set_pdeathsig(signum)
    # The kernel reports only a death still to come.
    if os.getppid() != parent:
        os.kill(os.getpid(), signum)
