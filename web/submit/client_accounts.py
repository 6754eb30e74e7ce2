"""What one client has and how much more it may have, so that no client can take all there is.

A client may hold at most as much of each limit as it leaves free. Such a share can be too small
only where more than half of a limit is used. An API key may have limits of its own. Only in these
two cases the account of the client is read from Redis; otherwise a request costs no round trip.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from redis import Redis

from shared import clock as redis_clock
from shared.errors import DailyLimitReached, TooManyOutstanding, TooMuchKept, TryLater
from shared.jobs import Lane
from shared.records import footprint
from shared.records.accounts import account
from shared.records.accounts.account import Account
from shared.records.load.reservation import Reservation
from web.http.clients import Client
from web.submit.budgets import LONGEST_SECONDS, NOTHING_DRAINS_SECONDS, Budget, Budgets
from web.submit.limits import Need

#: An account is read again when it is older than this, and before a refusal than that.
_FRESH_SECONDS = 1.0
_FRESH_FOR_REFUSAL_SECONDS = 0.1

#: Clients that a process remembers, beside those that have requests under way.
_REMEMBERED = 1_000


@dataclass
class _Sum:
    """Needs of several requests."""

    images: Counter[Lane] = field(default_factory=Counter)
    size: int = 0
    records: int = 0
    today: int = 0

    def add(self, lane: Lane, need: Need, sign: int = 1) -> None:
        self.images[lane] += sign * need.images
        self.size += sign * need.size
        self.records += sign * need.records
        self.today += sign * need.today


@dataclass
class _Known:
    """A client, as this process knows it."""

    read: Account = field(default_factory=Account)
    read_at: float = float("-inf")
    stored: _Sum = field(default_factory=_Sum)  #: Since its account was read.
    reserved: _Sum = field(default_factory=_Sum)  #: By its requests that are under way.
    requests: int = 0  #: That have reserved something.

    def account(self, lane: Lane, own: Need, elsewhere: int) -> Account:
        """What the client has, without what one request has reserved in `lane`.

        In other processes it has reserved `elsewhere` bytes of images.
        """
        sums = (self.stored, self.reserved)
        images = {
            each: self.read.images[each] + sum(one.images[each] for one in sums) for each in Lane
        }
        images[lane] -= own.images
        return Account(
            images=images,
            size=self.read.size + sum(one.size for one in sums) - own.size + elsewhere,
            kept=self.read.kept + sum(one.records for one in sums) - own.records,
            today=self.read.today + sum(one.today for one in sums) - own.today,
        )


class ClientAccounts:
    def __init__(self, redis: Redis, clock: Callable[[], float]) -> None:
        self._redis = redis
        self._clock = clock
        self._known: dict[str, _Known] = {}

    def refusal(
        self,
        client: Client,
        lane: Lane,
        need: Need,
        own: Need,
        budgets: Budgets,
        *,
        reservation: Reservation | None = None,
    ) -> TryLater | None:
        """Why a client may not have what a request needs; None if it may.

        `own` is what the request has reserved in `lane`. A request with a `reservation` goes by
        what is there now. Raises RedisError.
        """
        if not client.name or not (client.limits.are_set or budgets.may_exceed_a_share):
            return None
        fresh = _FRESH_FOR_REFUSAL_SECONDS if client.limits.are_set else _FRESH_SECONDS
        elsewhere = 0
        if reservation:
            fresh, elsewhere = -1, reservation.before.elsewhere_for_client
        refusal = None
        for seconds in (fresh, _FRESH_FOR_REFUSAL_SECONDS):
            present = self._read(client.name, seconds).account(lane, own, elsewhere)
            refusal = self._of_key(client, present, need) or _of_share(present, lane, budgets)
            if not refusal:
                return None
        return refusal

    def count(self, client: Client, lane: Lane, need: Need, sign: int) -> None:
        """Add what a request has reserved, or take it away."""
        known = self._of(client.name)
        known.reserved.add(lane, need, sign)
        known.requests += sign

    def note_stored(self, client: Client, lane: Lane, need: Need) -> None:
        """Count what a request has stored until the account is read again."""
        if known := self._known.get(client.name):
            known.stored.add(lane, need)

    def _read(self, client: str, fresh_seconds: float) -> _Known:
        known, now = self._of(client), self._clock()
        if now - known.read_at > fresh_seconds:
            before, known.read_at = known.read_at, now  # others go by the last account meanwhile
            try:
                known.read = account.read(self._redis, client)
            except BaseException:
                known.read_at = before
                raise
            known.stored = _Sum()
        return known

    def _of(self, client: str) -> _Known:
        known = self._known.get(client)
        if known is None:
            if len(self._known) > _REMEMBERED:
                self._known = {name: each for name, each in self._known.items() if each.requests}
            known = self._known[client] = _Known()
        return known

    def _of_key(self, client: Client, present: Account, need: Need) -> TryLater | None:
        """Whether a client would exceed the limits of its API key."""
        limits = client.limits
        if need.today and _exceeds(present.today, need.today, limits.images_per_day):
            now = redis_clock.now(self._redis)
            return DailyLimitReached(
                f"Your API key may send {limits.images_per_day} pictures a day, and has sent "
                f"{present.today}. The next day begins at 00:00 UTC.",
                retry_after_seconds=math.ceil(account.end_of_day(now) - now),
            )
        for unit, has, more, most in (
            ("pictures", present.all_images, need.images, limits.images),
            ("bytes of pictures", present.size, need.size, limits.bytes),
        ):
            if more and _exceeds(has, more, most):
                return TooManyOutstanding(
                    f"Your API key may have {most} {unit} outstanding, and has {has}. This request "
                    f"brings {more} more. Send fewer at a time, or wait until some are done.",
                    retry_after_seconds=NOTHING_DRAINS_SECONDS if more > (most or 0) else 2,
                )
        return None


def _exceeds(has: int, more: int, most: int | None) -> bool:
    return most is not None and has + more > most


def _of_share(present: Account, lane: Lane, budgets: Budgets) -> TryLater | None:
    """Whether a client would exceed its share."""
    # Admission counts the results that are still to come for all, so also for each client.
    outstanding = present.size + footprint.RESULT * present.all_images
    kept = present.kept + outstanding
    for budget, held in (
        (budgets.images, present.images[lane]),
        (budgets.size, present.size),
        (budgets.memory, kept),
    ):
        over = budget.over_share(held) if budget else 0
        if budget and over:
            return _share_refusal(budget, over, budgets, keeps=present.kept > outstanding)
    return None


def _share_refusal(budget: Budget, over: int, budgets: Budgets, *, keeps: bool) -> TryLater:
    if budget is budgets.memory and keeps:
        return TooMuchKept(retry_after_seconds=LONGEST_SECONDS)
    return TooManyOutstanding(retry_after_seconds=budgets.seconds_for_share(over, budget))
