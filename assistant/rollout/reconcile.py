"""Keeps the replicas at what the ledger wants: loads what they lack and takes away what nobody needs.

Each server on the database runs this loop over the same replicas, so every step may find that another server has done
it. A release is taken away only once it has been unwanted for `GRACE_SECONDS`, longer than any server's knowledge is
old, and no server has a reply under way on it. What cannot be done is told once, and tried again.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from typing import Protocol

from sqlalchemy import delete, select

from assistant.engine.adapters import Adapters
from assistant.engine.fleet import Replica
from assistant.errors import SottoError
from assistant.rollout.ledger import Ledger, Traffic
from assistant.rollout.routing import Router
from assistant.state.database import Database
from assistant.state.models import Replica as ReplicaRow
from assistant.state.models import Residence
from federation.releases.errors import ReleaseError
from federation.releases.store import Store

EVERY_SECONDS = 0.5
GRACE_SECONDS = 5.0
_FRESH_SECONDS = 10.0
_LOG = logging.getLogger(__name__)


class Releases(Protocol):
    """Where releases come from: see `federation.releases.registry.Registry`."""

    store: Store

    def fetch(self, reference: str, /) -> object:
        """Brings a release into the store."""
        ...


class Reconciler:
    """One server's loop. ``open_replica`` opens the replica at an address; that at ``own`` is always wanted."""

    def __init__(
        self,
        router: Router,
        ledger: Ledger,
        database: Database,
        releases: Releases,
        open_replica: Callable[[str], Replica],
        *,
        own: str = "",
        clock: Callable[[], float] = time.time,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self.router, self._ledger, self._database, self._releases = router, ledger, database, releases
        self._store, self._open, self._own = releases.store, open_replica, own
        self._clock, self._grace = clock, grace
        self._server, self._began = uuid.uuid4().hex, False
        self._fetching = asyncio.Lock()
        self._unwanted: dict[str, float] = {}
        self._told: dict[tuple[str, str], str] = {}
        self.faults: dict[str, str] = {}
        """What keeps a release from being ready, by its digest: for whoever asks for the rollout's status."""

    async def run(self) -> None:
        """Steps every `EVERY_SECONDS` until cancelled; a step that fails is told and taken again."""
        while True:
            try:
                await self.step()
            except Exception as error:  # a loop that ended would leave the replicas as they are for good
                self._tell("A step failed:", "", error)
            await asyncio.sleep(EVERY_SECONDS)

    async def step(self) -> None:
        """One look at everything."""
        traffic, live_rollout, wanted_replicas = await asyncio.to_thread(self._read)
        if not self._began:
            # A server that begins must not answer from the base model while it loads the live release.
            self._began, self.router.traffic, self.router.live_rollout = True, traffic, live_rollout
        await self._follow(wanted_replicas)
        fleet = self.router.fleet
        await asyncio.gather(*(self._mend(replica, traffic) for replica in list(fleet.replicas.values())))
        self.router.traffic, self.router.live_rollout = traffic, live_rollout
        used_elsewhere = await asyncio.to_thread(self._share_in_flight)
        await self._take_away(traffic, used_elsewhere)

    def _read(self) -> tuple[Traffic, int, dict[str, bool]]:
        with self._database.read() as session:
            rows = {row.url: row.draining for row in session.scalars(select(ReplicaRow))}
        if self._own:
            rows.setdefault(self._own, False)
        return self._ledger.traffic(), self._ledger.live_rollout(), rows

    async def _follow(self, wanted: dict[str, bool]) -> None:
        """Opens replicas that were added, and drops those that were removed once they are idle."""
        replicas = self.router.fleet.replicas
        for url, draining in wanted.items():
            if url not in replicas:
                replicas[url] = self._open(url)
            replicas[url].draining = draining
        for url in set(replicas) - set(wanted):
            replica = replicas[url]
            replica.draining = True
            if not replica.busy:
                del replicas[url]
                await replica.engine.aclose()

    async def _mend(self, replica: Replica, traffic: Traffic) -> None:
        if not await replica.engine.healthy():
            replica.up = False
            return
        if replica.adapters is not None:
            try:
                await replica.adapters.present()
            except SottoError as error:
                # It answers, but what it holds is not known: it might answer under a release it has lost.
                replica.up = False
                self._tell(replica.url, "", error)
                return
            for digest in sorted(traffic.wanted - replica.routable):
                await self._load(replica.adapters, replica.url, digest)
        replica.up = True

    async def _load(self, adapters: Adapters, url: str, digest: str) -> None:
        try:
            async with self._fetching:
                if digest not in self._store:
                    await asyncio.to_thread(self._releases.fetch, digest)
            await adapters.load(digest)
        except (SottoError, ReleaseError) as error:
            self.faults[digest] = str(error)
            self._tell(url, digest, error)
        else:
            self.faults.pop(digest, None)
            self._told.pop((url, digest), None)

    def _share_in_flight(self) -> frozenset[str]:
        """Tells the other servers what this one has under way; returns what they have."""
        now = self._clock()
        mine = {release: count for release, count in self.router.in_flight.items() if count}
        with self._database.write() as session:
            session.execute(
                delete(Residence).where((Residence.server == self._server) | (Residence.seen_at < now - _FRESH_SECONDS))
            )
            for release, count in mine.items():
                session.add(Residence(server=self._server, release=release, in_flight=count, seen_at=now))
            others = select(Residence.release).where(Residence.server != self._server)
            return frozenset(session.scalars(others))

    async def _take_away(self, traffic: Traffic, used: frozenset[str]) -> None:
        now = self._clock()
        replicas = list(self.router.fleet.replicas.values())
        held = [(replica.url, replica.adapters) for replica in replicas if replica.up and replica.adapters]
        present: set[str] = set()
        for url, adapters in held:
            try:
                present |= await adapters.present()
            except SottoError as error:
                self._tell(url, "", error)
        kept = traffic.wanted | used | {release for release, count in self.router.in_flight.items() if count}
        for digest in present & kept:
            self._unwanted.pop(digest, None)
        for digest in present - kept:
            since = self._unwanted.setdefault(digest, now)
            if now - since >= self._grace:
                await asyncio.gather(*(self._unload(url, adapters, digest) for url, adapters in held))
        if replicas and len(held) == len(replicas):
            await asyncio.to_thread(self._collect, present | kept | self._ledger.kept())

    async def _unload(self, url: str, adapters: Adapters, digest: str) -> None:
        try:
            await adapters.unload(digest)
        except SottoError as error:
            self._tell(url, digest, error)

    def _collect(self, kept: frozenset[str] | set[str]) -> None:
        """Removes the folders of releases that no replica names and nobody may want back soon."""
        for digest in self._store.digests():
            if digest in kept:
                continue
            if self._clock() - self._unwanted.setdefault(digest, self._clock()) >= self._grace:
                self._store.remove(digest)
                self._unwanted.pop(digest, None)

    def _tell(self, place: str, digest: str, error: Exception) -> None:
        if self._told.get((place, digest)) != str(error):
            self._told[place, digest] = str(error)
            _LOG.warning("%s %s: %s", place, digest[:12], error)
