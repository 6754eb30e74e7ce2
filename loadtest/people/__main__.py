"""Start a service on this machine, and simulated users of it with Locust.

    python -m loadtest.people PICTURES --shape spike --users 40 --run-time 5m --html report.html

All other options go to Locust and to loadtest/people/locustfile.py. It prints the memory of the
service's processes, and exits with the status of Locust: 1 where a threshold was passed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.local_service import LocalService, export_model, local_service
from loadtest.measure.process_table import MemoryWatch

_LOCUSTFILE = Path(__file__).with_name("locustfile.py")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("pictures", type=Path)
    options, passed_on = arguments.parse_known_args()
    export_model()
    with tempfile.TemporaryDirectory() as folder:
        with local_service(Path(folder), os.environ) as service:
            service.start_all()
            with MemoryWatch(service) as memory:
                status = _locust(service, options.pictures, passed_on)
    print(memory.table())
    sys.exit(status)


def _locust(service: LocalService, pictures: Path, passed_on: Sequence[str]) -> int:
    command = [sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--headless"]
    own = ["--only-summary", "--host", service.base_url, "--pictures", str(pictures)]
    return subprocess.run([*command, *own, *passed_on], check=False).returncode


if __name__ == "__main__":
    main()
