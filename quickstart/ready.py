"""Waits until a picture can really be classified, then says where everything is."""

from __future__ import annotations

import ipaddress
import os
import signal
import struct
import time
import zlib
from collections.abc import Callable
from functools import partial

import httpx

from quickstart.command import command
from shared.errors import ClassifierError, ModelNotReady
from shared.model_info import ModelInfo
from shared.settings import Settings

#: A first start exports the model; that of `make demo` downloads its weights before.
LIMIT_SECONDS = 300
#: Between attempts: short while the web process starts, long while a model is exported.
_PAUSES_SECONDS = (0.1, 2.0)
_LOADING = "a worker is loading the model (the first start exports it once)"


def main() -> None:
    with command("ready") as settings:
        model = wait_until_ready(
            api_url(settings), say=partial(print, flush=True), key=settings.api_key
        )
        print(banner(settings, model), flush=True)
        # Were this program to end, all the others would be stopped.
        signal.pause()


def api_url(settings: Settings) -> str:
    return f"http://{_reachable(settings.host)}:{settings.web_port}"


def flower_url(settings: Settings) -> str:
    return f"http://{_reachable(settings.host)}:{settings.flower_port}"


def wait_until_ready(
    url: str,
    *,
    say: Callable[[str], None],
    key: str | None = None,
    check: Callable[[], None] = lambda: None,
    limit_seconds: float = LIMIT_SECONDS,
) -> ModelInfo:
    """Return once the service at `url` has classified a picture; tells `say` what it waits for.

    `key` is sent along. Raises ClassifierError after `limit_seconds` or where the key is not in
    use, and whatever `check` raises to end the wait.
    """
    give_up = time.monotonic() + limit_seconds
    picture = new_picture()
    said = None
    pause, longest_pause = _PAUSES_SECONDS
    headers = {"X-API-Key": key} if key else {}
    # Longer than the service holds a request.
    with httpx.Client(base_url=url, timeout=60, headers=headers) as client:
        while obstacle := _obstacle(client, picture):
            check()
            if time.monotonic() > give_up:
                raise ClassifierError(f"not ready after {limit_seconds:.0f} s: {obstacle}")
            if obstacle != said:
                say(f"waiting: {obstacle}")
                said = obstacle
            time.sleep(pause)
            pause = min(1.3 * pause, longest_pause)
        return ModelInfo(**client.get("/api/v1/model/info").raise_for_status().json())


def _obstacle(client: httpx.Client, picture: bytes) -> str | None:
    """Why the picture isn't classified, in words; None once it is."""
    try:
        # Asked first: before a worker knows its model, each picture would wait and be queued.
        response = client.get("/api/v1/model/info")
        if response.is_success:
            response = client.post("/api/v1/classify", files={"file": ("ready.png", picture)})
    except httpx.TransportError:
        return "the web process is starting"
    if response.status_code == httpx.codes.OK:
        return None
    if response.status_code == httpx.codes.UNAUTHORIZED:
        raise ClassifierError("API_KEYS_FILE is set: give one of its keys in API_KEY")
    if response.status_code == httpx.codes.ACCEPTED or ModelNotReady.code in response.text:
        return _LOADING
    return f"the service answers {response.status_code}: {response.text[:200]}"


def new_picture() -> bytes:
    """A PNG, 32×32 RGB. Its pixels are random, so that no cached result answers for a worker."""
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
    port = "" if settings.web_port == 8000 else f"WEB_PORT={settings.web_port} "
    notice = f"\n  NOTE: {model.notice}\n" if model.notice else ""
    return f"""
Ready: {model.name}, version {model.version}, on {model.engine}
{notice}
  Page     {api}
  Docs     {api}/docs and {api}/redoc
  Flower   {flower_url(settings)}

Try:
  curl -F file=@picture.jpg {api.removeprefix("http://")}/api/v1/classify
  {port}make demo

Ctrl-C stops everything.
"""


def _reachable(host: str) -> str:
    """The address to call, for an address to listen on: `0.0.0.0` is every address and none."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return f"[{host}]" if address.version == 6 else host


if __name__ == "__main__":
    main()
