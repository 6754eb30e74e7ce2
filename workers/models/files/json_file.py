"""Reads the JSON of other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shared.errors import ModelError


def read_object(path: Path) -> dict[str, Any]:
    """Raises ModelError if the file cannot be read, or holds no JSON object."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} is not a JSON object.")
    return values
