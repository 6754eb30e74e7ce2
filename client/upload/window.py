"""The limit on images between planning and writing, which bounds the memory of an upload."""

from __future__ import annotations

import threading


class Stopped(Exception):
    """The upload ends: a thread must not go on."""


class Window:
    """Room for a number of images."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._closed = False
        self._changed = threading.Condition()

    def enter(self, images: int) -> None:
        """Wait until there is room for so many images. Raises Stopped when the window closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._free >= images or self._closed)
            if self._closed:
                raise Stopped
            self._free -= images

    def leave(self, images: int) -> None:
        with self._changed:
            self._free += images
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
