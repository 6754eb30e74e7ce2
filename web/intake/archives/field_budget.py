"""A limit for the fields of all headers of an archive together."""

from __future__ import annotations

from shared.errors import ArchiveTooLarge

#: Usual entries have some ten fields. Those of macOS have some twenty, in an extended header.
_FOR_EACH_ENTRY = 48
_FOR_EVERY_ARCHIVE = 10_000


class FieldBudget:
    """Counts fields of headers. A field takes a microsecond, and packs to almost nothing."""

    def __init__(self) -> None:
        self._left = _FOR_EVERY_ARCHIVE

    def add_entry(self) -> None:
        """Allow the fields of one more entry."""
        self._left += _FOR_EACH_ENTRY

    def spend(self, fields: int = 1) -> None:
        """Count fields. Raises ArchiveTooLarge if there are too many."""
        self._left -= fields
        if self._left < 0:
            raise ArchiveTooLarge("The headers of the archive have too many fields.")
