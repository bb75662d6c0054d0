"""Moving windows for the `limits` library, in the state database: all processes on one database share them.

Of what is taken at a time ``t`` each window of ``expiry`` seconds that holds ``t`` knows, so no window anywhere ever
holds more than its limit; a fixed window would let through twice that around its edge. Clocks of several machines must
agree, as NTP keeps them.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, cast

from limits import RateLimitItem
from limits.storage import MovingWindowSupport, Storage
from limits.strategies import MovingWindowRateLimiter
from sqlalchemy import (
    Connection,
    Double,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from assistant.access.keys import Clock
from assistant.errors import StateUnavailable
from assistant.state.database import Database, exclude
from assistant.state.models import RateEntry

# Every request runs these: built once, as building them takes longer than running them.
_ENTRIES = cast("Table", RateEntry.__table__)
_OF_KEY, _NOW = _ENTRIES.c.bucket == bindparam("key"), bindparam("now", type_=Double)
_IN_WINDOW = and_(_OF_KEY, _ENTRIES.c.until > _NOW)
_EXPIRE = delete(_ENTRIES).where(_OF_KEY, _ENTRIES.c.until <= _NOW)
_SUM = select(func.sum(_ENTRIES.c.amount), func.min(_ENTRIES.c.until), func.max(_ENTRIES.c.until)).where(_IN_WINDOW)
_LIVE = select(_ENTRIES.c.until, _ENTRIES.c.amount).where(_IN_WINDOW).order_by(_ENTRIES.c.until)
_ADD = insert(_ENTRIES).returning(_ENTRIES.c.id)
_SETTLE = update(_ENTRIES).where(_ENTRIES.c.id == bindparam("entry")).values(amount=bindparam("cost"))


@dataclass(frozen=True)
class Taken:
    """What came of asking for a share of a window.

    ``entry`` names the share, or is None when there was not enough left; then enough is left after ``wait`` seconds,
    which is infinite for a share above the limit. After ``reset`` seconds the window is empty again.
    """

    entry: int | None
    remaining: int
    wait: float
    reset: float


class WindowStorage(Storage, MovingWindowSupport):
    """The windows of a database, for `limits.strategies.MovingWindowRateLimiter`. ``clock`` is in seconds."""

    STORAGE_SCHEME = ["sotto"]  # noqa: RUF012  # the library's own way to say it

    def __init__(self, database: Database, clock: Clock = time.time) -> None:
        super().__init__()
        self._database, self._clock = database, clock

    @property
    def base_exceptions(self) -> type[Exception]:
        """What a fault of the database is raised as."""
        return StateUnavailable

    def take(self, key: str, limit: int, expiry: int, amount: int) -> Taken:
        """Takes ``amount`` from the window ``key``, if so much is left."""
        with self._database.connection() as connection:
            exclude(connection, f"window {key}")
            # Read only now that nobody else can take from the window: its entries are in the order of their times.
            now = self._clock()
            connection.execute(_EXPIRE, {"key": key, "now": now})
            used, _, last = _sum(connection, key, now)
            if used + amount > limit:
                wait = _wait(connection, key, used + amount - limit, now) if amount <= limit else math.inf
                return Taken(None, max(0, limit - used), wait, max(0.0, last - now))
            entry = {"bucket": key, "until": now + expiry, "amount": amount}
            return Taken(connection.execute(_ADD, entry).scalar_one(), limit - used - amount, 0.0, float(expiry))

    def settle(self, entry: int, amount: int) -> None:
        """Says what a share came to in the end, which may be more than what was taken."""
        with self._database.connection() as connection:
            connection.execute(_SETTLE, {"entry": entry, "cost": amount})

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """As `take`; True when there was enough."""
        return self.take(key, limit, expiry, amount).entry is not None

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the window's oldest share was taken, or now, and how much is taken."""
        with self._database.connection() as connection:
            now = self._clock()
            used, first, _ = _sum(connection, key, now)
        return (first - expiry if used else now), used

    def clear(self, key: str) -> None:
        """Empties a window."""
        with self._database.write() as session:
            session.execute(delete(RateEntry).where(RateEntry.bucket == key))

    def reset(self) -> int | None:
        """Empties every window; gives the number of shares that went."""
        with self._database.write() as session:
            gone = session.scalar(select(func.count()).select_from(RateEntry))
            session.execute(delete(RateEntry))
        return gone

    def check(self) -> bool:
        """Whether the database answers."""
        try:
            with self._database.read() as session:
                session.execute(select(1))
        except StateUnavailable:
            return False
        return True

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """For fixed windows, which these are not."""
        raise NotImplementedError("these windows move: use MovingWindowRateLimiter")

    get = get_expiry = incr  # type: ignore[assignment]  # as `incr`


class SharedWindows(MovingWindowRateLimiter):
    """The library's moving windows, with shares that can be settled."""

    def __init__(self, storage: WindowStorage) -> None:
        super().__init__(storage)
        self._windows = storage

    def take(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> Taken:
        """As `hit`, and says what is left."""
        return self._windows.take(item.key_for(*identifiers), item.amount, item.get_expiry(), cost)

    def settle(self, entry: int, cost: int) -> None:
        """Says what a share came to in the end."""
        self._windows.settle(entry, cost)


def _sum(connection: Connection, key: str, now: float) -> tuple[int, float, float]:
    """How much of a window is taken at ``now``, and when the first and the last of it is free again."""
    found: Any = connection.execute(_SUM, {"key": key, "now": now}).one()
    used, first, last = found
    return (0, now, now) if used is None else (int(used), float(first), float(last))


def _wait(connection: Connection, key: str, missing: int, now: float) -> float:
    """Seconds until ``missing`` is free again."""
    entry: Any
    for entry in connection.execute(_LIVE, {"key": key, "now": now}):
        until, amount = entry
        missing -= amount
        if missing <= 0:
            return float(until) - now
    return 0.0
