"""Downloads torchvision's weights into torch's cache."""

from __future__ import annotations

import hashlib
import os
import threading
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

from filelock import FileLock

from shared.errors import ModelError, WeightsUnreachable
from shared.settings import Settings

#: For the first answer of the network, and later for each read.
_FIRST_ANSWER_SECONDS = 5
_READ_SECONDS = 10

_CHUNK_BYTES = 2**20


class _OtherFile(Exception):
    """Not the file that was asked for. A captive portal, as in a hotel, sends a page instead."""


#: The errors for which the network is the cause. Other OSErrors come from the disk: it is full, or
#: the folder is read-only.
_NETWORK_ERRORS = (URLError, ConnectionError, TimeoutError, SSLError, HTTPException, _OtherFile)


def download(url: str, settings: Settings) -> Path:
    """The path of torchvision's file, downloaded and checked by its digest if it is missing.

    The end of the file's name is the beginning of its SHA-256. Raises WeightsUnreachable if the
    network cannot deliver it, ModelError if it cannot be stored.
    """
    folder = Path(os.path.expanduser(settings.torch_home), "hub", "checkpoints")
    path = folder / Path(urlparse(url).path).name
    if path.exists():
        return path
    try:
        _check_reachable(url)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{path.name}.lock"):
            if not path.exists():
                _store(url, path)
    except (OSError, HTTPException, _OtherFile) as error:
        unreachable = isinstance(error, _NETWORK_ERRORS)
        raise (WeightsUnreachable if unreachable else ModelError)(
            f"The weights cannot be downloaded from {url}: {_reason(error)}. Connect this machine "
            "to the network and try again. Or set MODEL_WEIGHTS=<file> if you have the weights. Or "
            "set MODEL_WEIGHTS=demonstration for a small model with ten classes, which needs no "
            "download."
        ) from error
    return path


def _reason(error: Exception) -> object:
    """Text for a user. An URLError shows its class and hides what the system said behind it."""
    return error.reason if type(error) is URLError else error


def _store(url: str, path: Path) -> None:
    """Download a file. It gets its name only when it is complete and on the disk."""
    digest = hashlib.sha256()
    partial = path.with_name(f".{path.name}.partial")
    try:
        with urlopen(url, timeout=_READ_SECONDS) as response, partial.open("wb") as file:
            while chunk := response.read(_CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        expected = path.stem.rpartition("-")[2]
        if not digest.hexdigest().startswith(expected):
            raise _OtherFile(f"its SHA-256 is {digest.hexdigest()}, not {expected}…")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _check_reachable(url: str) -> None:
    """Raise OSError unless the server answers within seconds.

    A connect timeout applies to each of a name's many addresses and not to resolving the name. So a
    thread of its own sends the request, and this function stops waiting for the thread in time.
    """
    failures: list[Exception] = []

    def request_head() -> None:
        try:
            # The wait for the thread must end first: both would end with different words.
            urlopen(Request(url, method="HEAD"), timeout=_READ_SECONDS).close()
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
