"""The exit status of the command."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    OK = 0
    SOME_FAILED = 1  #: Everything is done. Some pictures failed, or their job was cancelled.
    USAGE = 2  #: The arguments are wrong. Nothing was done.
    TOO_MANY_FAILURES = 3  #: As many pictures have failed as `--max-failures` says.
    SERVICE = 4  #: The service cannot be reached, or answered with an error.
    DISK = 5  #: A file or folder cannot be read or written.
    NOT_FINISHED = 6  #: The job still runs.
    INTERRUPTED = 130
