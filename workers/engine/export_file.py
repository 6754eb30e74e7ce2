"""The path of an export. Imports no model library."""

from __future__ import annotations

import hashlib
from pathlib import Path

from shared.errors import ModelError
from shared.settings import Settings
from workers.decode.preprocessing import PREPROCESSING_VERSION
from workers.engine.package import check_file, find_package, read_package

#: The demonstration model. The file names its own architecture.
DEMONSTRATION = Path(__file__).with_name("demonstration.safetensors")

_SUFFIX = f"-p{PREPROCESSING_VERSION}.onnx"


def find_export(settings: Settings) -> Path | None:
    """The export for the settings, or None if it has not been made.

    A model package has its own. The digest of a weights file is part of the name of its export. For
    downloaded and random weights, the newest export is taken. Raises ModelError if MODEL_WEIGHTS
    names a file that cannot be read, or MODEL a package that is damaged.
    """
    if folder := find_package(settings):
        return check_file(folder, read_package(folder))
    if file := weights_file(settings):
        path = export_path(settings, file_digest(file))
        return path if path.exists() else None
    prefix = _prefix(settings)
    exports = [
        path for path in settings.models_dir.glob(f"*{_SUFFIX}") if path.name.startswith(prefix)
    ]
    return max(exports, key=lambda path: path.stat().st_mtime, default=None)


def export_path(settings: Settings, weights_digest: str) -> Path:
    return settings.models_dir / f"{_prefix(settings)}{weights_digest[:12]}{_SUFFIX}"


def weights_source(settings: Settings) -> str:
    """`default`, `demonstration`, `random` or `file`."""
    words = {"DEFAULT": "default", "demonstration": "demonstration", "random": "random"}
    return words.get(settings.model_weights, "file")


def weights_file(settings: Settings) -> Path | None:
    """The file with the weights; None if they are downloaded or random."""
    files = {"demonstration": DEMONSTRATION, "file": Path(settings.model_weights)}
    return files.get(weights_source(settings))


def file_digest(path: Path) -> str:
    """The file's SHA-256, hex. Raises ModelError if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"MODEL_WEIGHTS={path} is neither DEFAULT nor demonstration nor random nor a file "
            f"that can be read: {error.strerror}"
        ) from error


def _prefix(settings: Settings) -> str:
    source = weights_source(settings)
    return f"{source}-" if source == "demonstration" else f"{settings.model}-{source}-"
