"""The result of a file of a plan."""

from __future__ import annotations

from ..api.records import Item, ItemError
from .plan import Plan
from .planner import UNREADABLE_FILE

#: The service's error of a picture without bytes.
_EMPTY_FILE = "empty_file"


def result_of(plan: Plan, position: int, item: Item) -> Item:
    """The result of a file whose item has this result at the service."""
    # A run may have died before it sent the empty picture. The next one may have read the file.
    if not plan.unread or not item.error or item.error.code != _EMPTY_FILE:
        return item
    number = plan.item_of[position]
    assert number is not None, "a file that was not sent has no result"
    noted = [plan.unread[each] for each in plan.copies[number] if each in plan.unread]
    if not noted:
        return item
    # Earlier releases noted the first one of equal files only.
    other = f"An equal file was not readable: {noted[0]}"
    return failed(UNREADABLE_FILE, plan.unread.get(position, other))


def failed(code: str, message: str) -> Item:
    return Item(index=0, name="", state="failed", error=ItemError(code, message))
