"""Moving windows for the `limits` library, in the state database: all processes on one database share them.

Of what is taken at a time ``t`` each window of ``expiry`` seconds that holds ``t`` knows, so no window anywhere ever
holds more than its limit; a fixed window would let through twice that around its edge. Clocks of several machines must
agree, as NTP keeps them.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from limits import RateLimitItem
from limits.storage import MovingWindowSupport, Storage
from limits.strategies import MovingWindowRateLimiter
from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from assistant.access.keys import Clock
from assistant.errors import StateUnavailable
from assistant.state.database import Database, exclude
from assistant.state.models import RateEntry


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
        with self._database.write() as session:
            exclude(session.connection(), f"window {key}")
            # Read only now that nobody else can take from the window: its entries are in the order of their times.
            now = self._clock()
            session.execute(delete(RateEntry).where(RateEntry.bucket == key, RateEntry.until <= now))
            used, last = self._sum(session, key, now)
            if used + amount > limit:
                wait = _wait(session, key, used + amount - limit, now) if amount <= limit else math.inf
                return Taken(None, max(0, limit - used), wait, max(0.0, last - now))
            entry = RateEntry(bucket=key, until=now + expiry, amount=amount)
            session.add(entry)
            session.flush()
            return Taken(entry.id, limit - used - amount, 0.0, float(expiry))

    def settle(self, entry: int, amount: int) -> None:
        """Says what a share came to in the end, which may be more than what was taken."""
        with self._database.write() as session:
            session.execute(update(RateEntry).where(RateEntry.id == entry).values(amount=amount))

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """As `take`; True when there was enough."""
        return self.take(key, limit, expiry, amount).entry is not None

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the window's oldest share was taken, or now, and how much is taken."""
        with self._database.read() as session:
            now = self._clock()
            used, _ = self._sum(session, key, now)
            oldest = session.scalar(select(func.min(RateEntry.until)).where(*_live(key, now)))
        return (now if oldest is None else oldest - expiry), used

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

    @staticmethod
    def _sum(session: Session, key: str, now: float) -> tuple[int, float]:
        """How much of a window is taken at ``now``, and when the last of it is free again."""
        columns = func.coalesce(func.sum(RateEntry.amount), 0), func.coalesce(func.max(RateEntry.until), now)
        used, last = session.execute(select(*columns).where(*_live(key, now))).one()
        return int(used), float(last)


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


def _live(key: str, now: float) -> tuple[ColumnElement[bool], ...]:
    return RateEntry.bucket == key, RateEntry.until > now


def _wait(session: Session, key: str, missing: int, now: float) -> float:
    """Seconds until ``missing`` is free again."""
    entries = select(RateEntry.until, RateEntry.amount).where(*_live(key, now)).order_by(RateEntry.until)
    for until, amount in session.execute(entries):
        missing -= amount
        if missing <= 0:
            return float(until) - now
    return 0.0
