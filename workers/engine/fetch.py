"""`python -m workers.engine.fetch` downloads torchvision's weights if they are needed.

With `--check` it downloads nothing. It only looks whether the named model's files can be read.

It exits with os.EX_UNAVAILABLE if the network cannot deliver them, and with 2 for other errors.
"""

from __future__ import annotations

import os
import sys

from shared.errors import ModelError, TorchNeeded, WeightsUnreachable
from shared.settings import Settings
from workers.engine import INSTALL_TORCH, find_export, uses_torch
from workers.engine.graph.graph import weights_of
from workers.engine.package import packages_hint
from workers.engine.weights.download import download


def fetch(settings: Settings) -> None:
    """Download the weights of MODEL_WEIGHTS=DEFAULT, unless they or an export of them are here.

    Raises WeightsUnreachable within seconds if the network cannot deliver them, TorchNeeded if only
    torch knows their address and is not installed, and ModelError if they cannot be stored.
    """
    if not uses_torch(settings) and find_export(settings):
        return
    if weights := weights_of(settings.model):
        download(weights.url, settings)
        return
    try:
        from workers.engine import torchvision_model  # Imports torch, which takes seconds.
    except ModuleNotFoundError as error:
        what = f"MODEL={settings.model}"
        hint = packages_hint(settings)
        raise TorchNeeded(f"{what} needs PyTorch once. {INSTALL_TORCH}{hint}") from error
    torchvision_model.fetch(settings)


def main() -> int:
    try:
        if "--check" in sys.argv:
            find_export(Settings())  # Raises ModelError for a file that it cannot read.
        else:
            fetch(Settings())
    except ModelError as error:
        print(error, file=sys.stderr)
        return os.EX_UNAVAILABLE if isinstance(error, WeightsUnreachable) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
