"""Reading what a newer release has written: fields that this release does not know are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


def known_fields(cls: type[_Dataclass], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The stored fields that the dataclass has."""
    return {name: value for name, value in stored.items() if name in cls.__dataclass_fields__}
