"""The worker with a decoder that kills its process at bytes with a mark, as a bug in C would."""

from __future__ import annotations

import os
import signal
from typing import Any

from workers.decode import decoder
from workers.app import app

__all__ = ["app"]

_decode = decoder.decode


def decode(data: bytes, *args: Any, **options: Any) -> Any:
    if data.endswith(b"poison"):
        os.kill(os.getpid(), signal.SIGKILL)
    return _decode(data, *args, **options)


decoder.decode = decode
