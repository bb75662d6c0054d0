"""A bounded number of turns at a time, a short queue before them, and nobody who takes all of either.

The next place goes to the caller with the fewest turns under way. When the queue is full, a newcomer takes the place of
the newest of whoever waits with the most, if that is more than the newcomer's own: a caller who sends much is turned
away first, one who sends little gets through. What is turned away is so at once, before any work was done for it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

from assistant.errors import Overloaded

__all__ = ["FairQueue", "Ticket", "Turnstile"]

LONGEST_RETRY = 30
_WEIGHT = 0.2  # of the latest turn in the usual length of one


class Ticket:
    """A turn that waits, runs, or was turned away, ``since`` that time of the monotonic clock."""

    def __init__(self, caller: str) -> None:
        self.caller = caller
        self.runs = self.refused = False
        self.since = time.monotonic()
        self._decided = asyncio.Event()

    def decide(self, *, runs: bool) -> None:
        """Lets it run, or turns it away."""
        self.runs, self.refused, self.since = runs, not runs, time.monotonic()
        self._decided.set()

    async def decided(self) -> None:
        """Returns when it is one or the other."""
        await self._decided.wait()


class FairQueue:
    """Who runs and who waits: ``places`` and ``seats`` are how many may. Knows nothing of time."""

    def __init__(self, places: int, seats: int) -> None:
        self._places, self._seats = places, seats
        self.running: Counter[str] = Counter()
        self.waiting: dict[str, deque[Ticket]] = {}

    @property
    def length(self) -> int:
        """How many wait."""
        return sum(map(len, self.waiting.values()))

    def arrive(self, ticket: Ticket) -> None:
        """Lets ``ticket`` run, wait, or turns away it or the one whose place it takes."""
        if self.running.total() < self._places:
            self._start(ticket)
            return
        if self.length >= self._seats and not self._make_room(ticket.caller):
            ticket.decide(runs=False)
            return
        self.waiting.setdefault(ticket.caller, deque()).append(ticket)

    def leave(self, ticket: Ticket) -> None:
        """``ticket`` has ended, or waits no longer."""
        if ticket.runs:
            self.running[ticket.caller] -= 1
            self.running += Counter()  # drops those who have none
            if (following := self._next()) is not None:
                self._start(following)
        elif ticket in (own := self.waiting.get(ticket.caller, deque())):
            own.remove(ticket)
            self._tidy(ticket.caller)

    def _start(self, ticket: Ticket) -> None:
        self.running[ticket.caller] += 1
        ticket.decide(runs=True)

    def _next(self) -> Ticket | None:
        if not self.waiting:
            return None
        # Of equals the one served longest ago: whoever is served goes to the end.
        caller = min(self.waiting, key=lambda name: self.running[name])
        tickets = self.waiting.pop(caller)
        ticket = tickets.popleft()
        if tickets:
            self.waiting[caller] = tickets
        return ticket

    def _make_room(self, newcomer: str) -> bool:
        most = max(self.waiting, key=lambda name: len(self.waiting[name]), default=newcomer)
        if len(self.waiting.get(most, ())) <= len(self.waiting.get(newcomer, ())) + 1:
            return False
        self.waiting[most].pop().decide(runs=False)
        self._tidy(most)
        return True

    def _tidy(self, caller: str) -> None:
        if not self.waiting[caller]:
            del self.waiting[caller]


class Turnstile:
    """The queue of one server; ``patience`` is how many seconds a turn waits at most."""

    def __init__(self, places: int, seats: int, patience: float) -> None:
        self._queue, self._places, self._patience = FairQueue(places, seats), places, patience
        self._usual_seconds = 1.0

    @contextmanager
    def ticket(self, caller: str) -> Iterator[Ticket]:
        """A place, or one in the queue, for as long as the block runs; Overloaded at once where there is neither."""
        ticket = Ticket(caller)
        self._queue.arrive(ticket)
        try:
            if ticket.refused:
                raise self._overloaded()
            yield ticket
        finally:
            self._queue.leave(ticket)
            if ticket.runs:
                self._usual_seconds += _WEIGHT * (time.monotonic() - ticket.since - self._usual_seconds)

    async def turn(self, ticket: Ticket) -> None:
        """Returns when ``ticket`` may run; Overloaded when it is turned away meanwhile, or waited too long."""
        try:
            async with asyncio.timeout(self._patience):
                await ticket.decided()
        except TimeoutError:
            raise self._overloaded() from None
        if ticket.refused:
            raise self._overloaded()

    def _overloaded(self) -> Overloaded:
        ahead = (self._queue.length + 1) / self._places * self._usual_seconds
        seconds = min(LONGEST_RETRY, max(1, math.ceil(ahead)))
        return Overloaded(f"The server has all the turns it can take. Try again in {seconds} s.", seconds)
