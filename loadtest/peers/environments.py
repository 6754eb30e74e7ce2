"""Make a virtual environment for each peer, because their requirements exclude each other.

    python -m loadtest.peers.environments mosec_server litserve_server

Without names it makes all of them in `peers/` of DATA_DIR. They take some gigabytes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from pathlib import Path

from loadtest.peers.peer import FOLDER_PEERS, PEERS
from shared.settings import Settings

_NAMES = [*PEERS, *FOLDER_PEERS]

_REQUIREMENTS = Path(__file__).with_name("requirements")


def python(name: str) -> Path:
    """The Python of a peer's environment, which may not exist yet."""
    return (Settings().data_dir / "peers" / name / "bin/python").absolute()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("names", nargs="*", metavar="name", help=", ".join(_NAMES))
    names = arguments.parse_args().names or _NAMES
    if unknown := set(names) - set(_NAMES):
        arguments.error(f"no such peer: {', '.join(sorted(unknown))}")
    failed = [name for name in names if not _make(name)]
    sys.exit(f"These were not installed: {', '.join(failed)}" if failed else 0)


def _make(name: str) -> bool:
    print(name, flush=True)
    own = python(name)
    if not own.exists():
        venv.create(own.parents[1], with_pip=True)
    install = [
        str(own),
        "-m",
        "pip",
        "install",
        "--quiet",
        "-r",
        str(_REQUIREMENTS / f"{name}.txt"),
    ]
    return subprocess.run(install, check=False).returncode == 0


if __name__ == "__main__":
    main()
