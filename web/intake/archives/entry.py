"""One entry of an archive of any kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from shared.errors import ClassifierError


class Entry(NamedTuple):
    """One file or folder as the archive describes it. The description may be false."""

    name: str
    size: int  #: Bytes, unpacked.
    #: Returns its bytes, never more than `size`. Call it at most once, before the next entry.
    read: Callable[[], bytes]
    is_folder: bool = False
    error: ClassifierError | None = None  #: Why it must not be read.
