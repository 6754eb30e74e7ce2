"""Where an export lies, and whether it is there. Imports no model library."""

from __future__ import annotations

import hashlib
from pathlib import Path

from shared.errors import ModelError
from shared.settings import Settings
from workers.decode.preprocessing import PREPROCESSING_VERSION

#: The model that comes with this code, whose weights say themselves what they are of.
DEMONSTRATION = Path(__file__).with_name("demonstration.safetensors")

_SUFFIX = f"-p{PREPROCESSING_VERSION}.onnx"


def find_export(settings: Settings) -> Path | None:
    """The export of what the settings ask for, or None where none has been made.

    A weights file is found by its digest; of downloaded or random weights the newest export
    counts. Raises ModelError where MODEL_WEIGHTS names a file that cannot be read.
    """
    if file := weights_file(settings):
        path = export_path(settings, file_digest(file))
        return path if path.exists() else None
    prefix = _prefix(settings)
    found = [
        path for path in settings.models_dir.glob(f"*{_SUFFIX}") if path.name.startswith(prefix)
    ]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def export_path(settings: Settings, weights_digest: str) -> Path:
    return settings.models_dir / f"{_prefix(settings)}{weights_digest[:12]}{_SUFFIX}"


def weights_source(settings: Settings) -> str:
    """`default`, `demonstration`, `random` or `file`."""
    words = {"DEFAULT": "default", "demonstration": "demonstration", "random": "random"}
    return words.get(settings.model_weights, "file")


def weights_file(settings: Settings) -> Path | None:
    """The file that holds the weights; None of downloaded and of random ones."""
    files = {"demonstration": DEMONSTRATION, "file": Path(settings.model_weights)}
    return files.get(weights_source(settings))


def file_digest(path: Path) -> str:
    """SHA-256, hex. Raises ModelError where the file cannot be read."""
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
