"""`make demo`: the client's demo, against a service that is started for it unless one answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import httpx

from quickstart.command import command
from quickstart.ready import api_url, wait_until_ready
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
        return httpx.get(f"{url}/livez", timeout=2).is_success
    except httpx.TransportError:
        return False


def _classify(url: str, key: str | None, check: Callable[[], None] = lambda: None) -> int:
    wait_until_ready(url, say=partial(print, flush=True), key=key, check=check)
    # As a process: the client shares no code with the service.
    command = [sys.executable, "-m", "client.cli.demo", "--url", url, *sys.argv[1:]]
    if key:
        # Under the client's name for it, and never as an argument, which others can see.
        renamed = 'IMAGE_CLASSIFIER_API_KEY="$API_KEY" exec "$@"'
        command = ["sh", "-c", renamed, "demo", *command]
    return subprocess.run(command, check=False).returncode


@contextmanager
def _service(settings: Settings) -> Iterator[Callable[[], None]]:
    """Run the quick start for the length of the block.

    Gives a check that raises ClassifierError where it has stopped.
    """
    log = settings.data_dir / "demo.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"Starting the service; its lines go to {log}", flush=True)
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
            raise ClassifierError("\n  ".join([f"the service stopped; the end of {log}:", *end]))

    try:
        yield check
    finally:
        launcher.terminate()
        launcher.wait()


if __name__ == "__main__":
    main()
