"""Downloads torchvision's weights into torch's cache."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from ssl import SSLError
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import torch

from shared.errors import ModelError, WeightsUnreachable

#: For the first answer of the network, and later for each read.
_FIRST_ANSWER_SECONDS = 5
_READ_SECONDS = 10

#: A captive portal, as in a hotel, sends a page instead of the weights. Its digest differs
#: (RuntimeError), or it cannot be unpickled (the last two).
_DOWNLOAD_ERRORS = (OSError, HTTPException, RuntimeError, EOFError, UnpicklingError)
#: The OSErrors among them for which the network is the cause.
_NETWORK_ERRORS = (URLError, ConnectionError, TimeoutError, SSLError)


def download(published: Any) -> Path:
    """The path of torchvision's file, downloaded and checked by its digest if it is missing.

    Raises WeightsUnreachable if the network cannot deliver it, ModelError if it cannot be stored.
    """
    path = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(published.url).path).name)
    if path.exists():
        return path
    try:
        _check_reachable(published.url)
        with _read_timeout():
            published.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except _DOWNLOAD_ERRORS as error:
        # Other OSErrors come from the disk: it is full, or the folder is read-only.
        unreachable = not isinstance(error, OSError) or isinstance(error, _NETWORK_ERRORS)
        raise (WeightsUnreachable if unreachable else ModelError)(
            f"The weights {published} cannot be downloaded from {published.url}: {error}. "
            "Let this machine reach the network once; or set MODEL_WEIGHTS=<file>, a .pth or "
            ".safetensors file; or set MODEL_WEIGHTS=demonstration, a small model of few classes; "
            "or set MODEL_WEIGHTS=random, for load tests."
        ) from error
    return path


def _check_reachable(url: str) -> None:
    """Raise OSError unless the server answers within seconds.

    A connect timeout applies to each of a name's many addresses and not to resolving the name. So a
    thread of its own sends the request, and this function stops waiting for the thread in time.
    """
    failures: list[Exception] = []

    def request_head() -> None:
        try:
            urlopen(Request(url, method="HEAD"), timeout=_FIRST_ANSWER_SECONDS).close()
        except (OSError, HTTPException) as error:
            failures.append(error)
            if isinstance(error, HTTPError):
                error.close()

    thread = threading.Thread(target=request_head, daemon=True)
    thread.start()
    thread.join(_FIRST_ANSWER_SECONDS)
    if thread.is_alive():
        raise TimeoutError(f"no answer in {_FIRST_ANSWER_SECONDS} s")
    if failures:
        raise failures[0]


@contextmanager
def _read_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_READ_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
