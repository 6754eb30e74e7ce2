"""An API key: its name, what it may do, until when, and the limits of its client."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timezone
from enum import StrEnum


class Scope(StrEnum):
    CLASSIFY = "classify"  #: All calls but those of an operator.
    OPERATE = "operate"  #: The calls under /api/v1/operator/.


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What all keys of one name may take together. None sets no limit."""

    images: int | None = None  #: Accepted and not yet classified, at a time.
    bytes: int | None = None  #: Of these images.
    images_per_day: int | None = None
    weight: int = 1  #: Share of a lane, beside clients of weight 1.

    @property
    def are_set(self) -> bool:
        return (self.images, self.bytes, self.images_per_day) != (None, None, None)


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    name: str
    digest: str  #: SHA-256 of the key, hex.
    scopes: frozenset[Scope] = frozenset({Scope.CLASSIFY})
    expires: date | None = None  #: The last day on which the key is valid, in UTC.
    limits: Limits = Limits()

    @property
    def expired(self) -> bool:
        return self.expires is not None and today() > self.expires


def today() -> date:
    """The day in UTC."""
    return datetime.now(timezone.utc).date()
