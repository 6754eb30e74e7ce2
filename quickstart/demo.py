"""`make demo`: runs the client's demo. It starts the service first unless one answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import httpx

from quickstart.addresses import api_url, local_client
from quickstart.command import command
from quickstart.ready import wait_until_ready
from quickstart.tether import tether
from shared.errors import ClassifierError
from shared.settings import Settings


def main() -> None:
    with command("demo") as settings:
        url = api_url(settings)
        if _answers(url):
            sys.exit(_classify(url, settings.api_key))
        with _service(settings) as check:
            sys.exit(_classify(url, settings.api_key, check))


def _answers(url: str) -> bool:
    try:
        with local_client(url, timeout=2) as client:
            return client.get("/livez").is_success
    except httpx.TransportError:
        return False


def _classify(url: str, key: str | None, check: Callable[[], None] = lambda: None) -> int:
    wait_until_ready(url, say=partial(print, flush=True), key=key, check=check)
    # A process of its own, because the client shares no code with the service.
    command = [sys.executable, "-m", "client.cli.demo", "--url", url, *sys.argv[1:]]
    # In the environment, because every user of the machine can see arguments.
    environment = {**os.environ, "IMAGE_CLASSIFIER_API_KEY": key} if key else None
    return subprocess.run(command, env=environment, check=False).returncode


@contextmanager
def _service(settings: Settings) -> Iterator[Callable[[], None]]:
    """Run the quick start for the length of the block.

    Gives a function that raises ClassifierError when the service has stopped.
    """
    log = settings.data_dir / "demo.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"Starting the service. Its log is {log}", flush=True)
    with log.open("wb") as output:
        launcher = subprocess.Popen(
            [sys.executable, "-m", "quickstart"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=partial(tether, os.getpid(), signal.SIGTERM),
        )

    def check() -> None:
        if launcher.poll() is not None:
            end = log.read_text(errors="replace").splitlines()[-15:]
            raise ClassifierError("\n  ".join([f"the service stopped. The end of {log}:", *end]))

    try:
        yield check
    finally:
        launcher.terminate()
        launcher.wait()


if __name__ == "__main__":
    main()
