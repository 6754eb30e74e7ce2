"""The file that keeps all lines of all programs, also those that the terminal does not show."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from shared.errors import ClassifierError

#: When the file has so many bytes, it becomes `quickstart.log.1`, and a new one begins.
MOST_BYTES = 10 * 2**20


def path(data_dir: Path) -> Path:
    return data_dir / "quickstart.log"


class LogFile:
    """Raises ClassifierError if the file cannot be written."""

    def __init__(self, data_dir: Path) -> None:
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            self._file = _Rotating(path(data_dir), maxBytes=MOST_BYTES, backupCount=1)
        except OSError as error:
            raise ClassifierError(
                f"cannot write to the folder {data_dir} ({error.strerror}): set DATA_DIR to a "
                "folder that you may write to"
            ) from error

    def write(self, line: str) -> None:
        self._file.handle(logging.makeLogRecord({"msg": line}))

    def close(self) -> None:
        with suppress(OSError):  # the disk is full
            self._file.close()


class _Rotating(RotatingFileHandler):
    def __init__(self, file: Path, **options: Any) -> None:
        super().__init__(file, encoding="utf-8", errors="backslashreplace", **options)

    def _open(self) -> TextIOWrapper:
        """Only the user may read it: lines have the names of pictures."""
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return open(descriptor, "a", encoding=self.encoding, errors=self.errors)

    def handleError(self, record: logging.LogRecord) -> None:
        """A disk that is full must not stop the service, nor fill the terminal."""
