"""`python -m workers.engine.export` makes the export for workers on a CPU and prints its path."""

from __future__ import annotations

import sys
from pathlib import Path

from filelock import FileLock

from shared.errors import ModelError, TorchNeeded
from shared.settings import Settings
from workers.engine import INSTALL_TORCH, cpu, find_export
from workers.engine.graph import fill
from workers.engine.package import packages_hint
from workers.engine.package_check import check_loaded

#: The status of the program if PyTorch is needed and not installed. Dockerfile.worker uses it.
TORCH_NEEDED = 3


def export(settings: Settings) -> Path:
    """The path of a checked export for the settings. It is made if it does not exist.

    If several processes start at once, one makes it and the others wait. It is loaded as a worker
    will load it, which compares bf16 with fp32 if that was not done on this kind of processor.
    Raises ModelError if it cannot be made, if the existing one is damaged, or if this machine
    cannot do what the settings ask for.
    """
    settings.models_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.models_dir / ".lock"):
        path = find_export(settings) or _write(settings)
    check_loaded(cpu.load(settings, path), settings)
    return path


def _write(settings: Settings) -> Path:
    try:
        return fill.write_export(settings)
    except TorchNeeded as error:
        what = error
    try:
        from workers.engine.onnx_export import write_export  # Imports torch, which takes seconds.
    except ModuleNotFoundError as error:
        hint = packages_hint(settings)
        raise TorchNeeded(f"{what} needs PyTorch once. {INSTALL_TORCH}{hint}") from error
    return write_export(settings)


def main() -> int:
    try:
        print(export(Settings()))
    except (ModelError, OSError) as error:
        print(error, file=sys.stderr)
        return TORCH_NEEDED if isinstance(error, TorchNeeded) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
