"""Waits until the service has classified a picture, then shows the addresses of everything."""

from __future__ import annotations

import os
import signal
import struct
import time
import zlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple
from urllib.request import getproxies

import httpx

from quickstart.addresses import api_url, flower_url, local_client, network_url
from quickstart.command import command
from shared.errors import ClassifierError, ModelNotReady
from shared.serving.model_info import ModelInfo
from shared.settings import Settings

#: A first start exports the model. In `make demo` it downloads the weights before that.
LIMIT_SECONDS = 300
#: The first and the longest pause between attempts. The web process starts fast, an export is slow.
_PAUSES_SECONDS = (0.1, 2.0)
#: The longest attempt. The service holds a request for less than this.
_ATTEMPT_SECONDS = 60
#: Stands for an API key. The quick start does not print a key.
_KEY = "imgc_…"
_LOADING = "a worker is loading the model (the first start with a model takes longer)"
_QUEUED = "a picture waits in the queue: a worker is still starting, or others come first"


class StillBusy(ClassifierError):
    """The service has its model, and other clients keep it too busy for one more picture."""


def main() -> None:
    with command("ready") as settings:
        url, say = api_url(settings), partial(print, flush=True)
        try:
            model = wait_until_ready(url, say=say, key=settings.api_key)
        except StillBusy as error:
            # The service works. To end it would take it from its clients.
            say(f"No picture was classified: {error}")
            model = _model_of(url, settings.api_key)
        say(banner(settings, model))
        # The end of this program would stop all the others.
        signal.pause()


def wait_until_ready(
    url: str,
    *,
    say: Callable[[str], None],
    key: str | None = None,
    check: Callable[[], None] = lambda: None,
    limit_seconds: float = LIMIT_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> ModelInfo:
    """Return the model once the service at `url` has classified a picture.

    `say` gets a sentence when the reason of the wait changes. `key` is sent as the API key.
    `check` is called before each pause and may raise to end the wait. Raises ClassifierError after
    `limit_seconds` (StillBusy if the service only has no time), and where it refuses the key. Time
    in which this program itself was stopped does not count.
    """
    waited, checked_at = 0.0, clock()
    picture = new_picture()
    said = None
    pause, longest_pause = _PAUSES_SECONDS
    with _client(url, key) as client:
        while obstacle := _obstacle(client, picture):
            check()
            now = clock()
            waited += min(now - checked_at, _ATTEMPT_SECONDS)
            checked_at = now
            if waited > limit_seconds:
                kind = StillBusy if obstacle.busy else ClassifierError
                raise kind(f"not ready after {limit_seconds:.0f} s: {obstacle.text}")
            if obstacle.text != said:
                say(f"Waiting: {obstacle.text}")
                said = obstacle.text
            time.sleep(pause)
            pause = min(1.3 * pause, longest_pause)
    return _model_of(url, key)


def _client(url: str, key: str | None) -> httpx.Client:
    headers = {"X-API-Key": key} if key else {}
    return local_client(url, timeout=_ATTEMPT_SECONDS, headers=headers)


def _model_of(url: str, key: str | None) -> ModelInfo:
    with _client(url, key) as client:
        return ModelInfo(**client.get("/api/v1/model/info").raise_for_status().json())


class _Obstacle(NamedTuple):
    text: str
    busy: bool = False  #: Whether the service works, and has no time for this picture.


def _obstacle(client: httpx.Client, picture: bytes) -> _Obstacle | None:
    """Why the service does not classify yet. None once it does."""
    try:
        # Before a worker has loaded the model, each picture would stay in the queue.
        response = client.get("/api/v1/model/info")
        if response.is_success:
            response = client.post("/api/v1/classify", files={"file": ("ready.png", picture)})
    except httpx.TransportError:
        return _Obstacle("the web process is starting")
    status = response.status_code
    if status == httpx.codes.OK:
        return None
    if status == httpx.codes.UNAUTHORIZED:
        raise ClassifierError("the service asks for an API key: set API_KEY to one of its keys")
    if ModelNotReady.code in response.text:
        return _Obstacle(_LOADING)
    if status == httpx.codes.ACCEPTED:
        return _Obstacle(_QUEUED, busy=True)
    busy = status in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
    return _Obstacle(f"the service answers {status}: {response.text[:200]}", busy)


def new_picture() -> bytes:
    """A PNG, 32×32 RGB. Its pixels are random, so that the result cache cannot answer."""
    side = 32
    rows = b"".join(b"\0" + os.urandom(3 * side) for _ in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def banner(settings: Settings, model: ModelInfo) -> str:
    api = api_url(settings)
    notice = f"\n  NOTE: {model.notice}\n" if model.notice else ""
    network = network_url(settings)
    other_machines = f"\n  Network  {network}" if network else ""
    return f"""
Ready: {model.name}, version {model.version}, on {model.engine} in {model.precision}
{notice}
  {api}

  Docs     {api}/docs and {api}/redoc
  Flower   {flower_url(settings)}{other_machines}

Try:
  {_curl(settings, api)}
  {_variables(settings)}make demo

Ctrl-C stops everything.
"""


def _curl(settings: Settings, api: str) -> str:
    options = "--noproxy '*' " if getproxies() else ""
    options += f"-H 'X-API-Key: {_KEY}' " if settings.api_keys_file else ""
    url = f"{api.removeprefix('http://')}/api/v1/classify"
    return f"curl {options}-F file=@picture.jpg " + (f"'{url}'" if "[" in url else url)


def _variables(settings: Settings) -> str:
    """The settings by which `make demo` finds the service."""
    host = httpx.URL(api_url(settings)).host
    values = {
        "API_KEY": _KEY if settings.api_keys_file else "",
        "HOST": "" if host == "127.0.0.1" else settings.host,
        "WEB_PORT": "" if settings.web_port == 8000 else settings.web_port,
    }
    return "".join(f"{name}={value} " for name, value in values.items() if value)


if __name__ == "__main__":
    main()
