"""Runs commands of the engine where PyTorch cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def run_without_torch(command: str, data: Path, model: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m workers.engine.<command>` for a model. `data` is its DATA_DIR."""
    program = (
        "import sys; sys.modules['torch'] = None\n"
        f"from workers.engine.{command} import main; sys.exit(main())"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"DATA_DIR": str(data), "MODEL": model},
        capture_output=True,
        text=True,
        check=False,
    )
