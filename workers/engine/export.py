"""`python -m workers.engine.export` makes the export for workers on a CPU and prints its path."""

from __future__ import annotations

import sys
from pathlib import Path

from filelock import FileLock

from shared.errors import ModelError
from shared.settings import Settings
from workers.engine import REQUIREMENTS, find_export
from workers.engine.onnx_engine import OnnxEngine


def export(settings: Settings) -> Path:
    """The path of a checked export for the settings. It is made if it does not exist.

    If several processes start at once, one makes it and the others wait. Raises ModelError if it
    cannot be made, or if the existing one is damaged.
    """
    settings.models_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.models_dir / ".lock"):
        path = find_export(settings)
        if path is None:
            return _write(settings)
    OnnxEngine.load(path, settings.model_labels)
    return path


def _write(settings: Settings) -> Path:
    try:
        from workers.engine.onnx_export import write_export  # Imports torch, which takes seconds.
    except ModuleNotFoundError as error:
        raise ModelError(f"Making an export needs {error.name}, see {REQUIREMENTS}") from error
    return write_export(settings)


def main() -> int:
    try:
        print(export(Settings()))
    except (ModelError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
