"""`python -m workers.engine.fetch`: downloads torchvision's weights where they are needed.

Status os.EX_UNAVAILABLE where the network does not bring them, 2 where something else is wrong.
"""

from __future__ import annotations

import os
import sys

from shared.errors import ModelError, WeightsUnreachable
from shared.settings import Settings
from workers.engine import REQUIREMENTS, find_export, resolve_engine


def fetch(settings: Settings) -> None:
    """Download what MODEL_WEIGHTS=DEFAULT means, unless it lies here or an export of it serves.

    Raises WeightsUnreachable within seconds where the network has it not, ModelError where torch is
    not installed or the weights cannot be kept.
    """
    if resolve_engine(settings) == "onnxruntime" and find_export(settings):
        return
    try:
        from workers.engine import torchvision_model  # Imports torch: seconds.
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
