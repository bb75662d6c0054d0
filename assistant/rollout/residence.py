"""What the servers on one database use of the replicas they share, and what one of them is taking away.

A release is taken away only where the ledger does not want it and no other server may ask for it: that is looked up,
and the leaving told, in one transaction that no rollout begins or ends beside. Whoever wants the release afterwards
sees that it is leaving, and waits. A server that has not told anything for `FRESH_SECONDS` is taken for dead.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from assistant.rollout.ledger import Ledger, traffic
from assistant.state.database import Database
from assistant.state.models import Residence

FRESH_SECONDS = 10.0


class Others(NamedTuple):
    """The releases that other servers use, and those that they are taking away."""

    used: frozenset[str]
    leaving: frozenset[str]


class Residences:
    """One server's view. Calls block."""

    def __init__(self, database: Database, ledger: Ledger, clock: Callable[[], float] = time.time) -> None:
        self._database, self._ledger, self._clock = database, ledger, clock
        self._server = uuid.uuid4().hex
        self._leaving: frozenset[str] = frozenset()

    def tell(self, used: Mapping[str, int]) -> Others:
        """Tells the others what this server uses: releases, with its replies under way on each."""
        with self._database.write() as session:
            now = self._clock()
            session.execute(delete(Residence).where(self._own() | (Residence.seen_at < now - FRESH_SECONDS)))
            for release in {*used, *self._leaving}:
                self._add(session, release, used.get(release, 0), now, leaving=release in self._leaving)
            return self._others(session, now)

    def others(self) -> Others:
        """What the others told last."""
        with self._database.read() as session:
            return self._others(session, self._clock())

    def leave(self, releases: Collection[str]) -> frozenset[str]:
        """Those of ``releases`` that may be taken away, which is told the others until `left`."""
        with self._ledger.alone() as session:
            now = self._clock()
            self._leaving = frozenset(releases) - traffic(session).wanted - self._others(session, now).used
            session.execute(delete(Residence).where(self._own(), Residence.release.in_(self._leaving)))
            for release in self._leaving:
                self._add(session, release, 0, now, leaving=True)
            return self._leaving

    def left(self) -> None:
        """What was leaving is gone."""
        self._leaving = frozenset()
        with self._database.write() as session:
            session.execute(delete(Residence).where(self._own(), Residence.leaving))

    def _own(self) -> ColumnElement[bool]:
        return Residence.server == self._server

    def _add(self, session: Session, release: str, count: int, now: float, *, leaving: bool) -> None:
        session.add(Residence(server=self._server, release=release, in_flight=count, leaving=leaving, seen_at=now))

    def _others(self, session: Session, now: float) -> Others:
        fresh = select(Residence).where(~self._own(), Residence.seen_at >= now - FRESH_SECONDS)
        rows = session.scalars(fresh).all()
        used, leaving = (frozenset(row.release for row in rows if row.leaving is going) for going in (False, True))
        return Others(used, leaving)
