"""`python -m workers.engine.fetch` downloads torchvision's weights if they are needed.

It exits with os.EX_UNAVAILABLE if the network cannot deliver them, and with 2 for other errors.
"""

from __future__ import annotations

import os
import sys

from shared.errors import ModelError, WeightsUnreachable
from shared.settings import Settings
from workers.engine import REQUIREMENTS, find_export, resolve_engine


def fetch(settings: Settings) -> None:
    """Download the weights of MODEL_WEIGHTS=DEFAULT, unless they or an export of them are here.

    Raises WeightsUnreachable within seconds if the network cannot deliver them, and ModelError if
    torch is not installed or the weights cannot be stored.
    """
    if resolve_engine(settings) == "onnxruntime" and find_export(settings):
        return
    try:
        from workers.engine import torchvision_model  # Imports torch, which takes seconds.
    except ModuleNotFoundError as error:
        raise ModelError(f"Making an export needs {error.name}, see {REQUIREMENTS}") from error
    torchvision_model.fetch(settings)


def main() -> int:
    try:
        fetch(Settings())
    except ModelError as error:
        print(error, file=sys.stderr)
        return os.EX_UNAVAILABLE if isinstance(error, WeightsUnreachable) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
