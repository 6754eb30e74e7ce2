"""The types of values in answers. A server of another kind may send any JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")

#: Larger numbers are none of the service. They could not be shown as a time or a size.
_LARGEST = 2**53

_Test = Callable[[Any], bool]


def checked(kind: type[T], value: Any) -> T:
    """The value. Raises TypeError if it has another type."""
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


@cache
def tests_of(record: type) -> Mapping[str, _Test]:
    """For each field of a dataclass, whether a value has its type."""
    return {name: _test(hint) for name, hint in get_type_hints(record).items()}


def _test(hint: Any) -> _Test:
    kind, of_parts = get_origin(hint), get_args(hint)
    if kind is UnionType:
        tests = [_test(each) for each in of_parts]
        return lambda value: any(test(value) for test in tests)
    if kind is tuple:  # of any length
        return lambda value: isinstance(value, tuple) and {*map(type, value)} <= {of_parts[0]}
    if kind is Mapping:  # JSON has no keys but text
        test = _test(of_parts[1])
        return lambda value: isinstance(value, dict) and all(map(test, value.values()))
    if hint in (int, float):
        kinds = (int,) if hint is int else (int, float)
        return lambda value: isinstance(value, kinds) and -_LARGEST <= value <= _LARGEST
    return lambda value: isinstance(value, hint)
