"""One entry of an archive of any kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from shared.errors import ClassifierError


class Entry(NamedTuple):
    """What an archive says of one file. Its size is only what it says."""

    name: str
    size: int  #: Bytes, unpacked.
    #: Its bytes, never more than `size`. Once, before the next entry is asked for.
    read: Callable[[], bytes]
    is_folder: bool = False
    error: ClassifierError | None = None  #: Why it must not be read.
