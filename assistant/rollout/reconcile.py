"""Keeps the replicas at what the ledger wants: loads what they lack and takes away what nobody needs.

Each server on the database runs this loop over the same replicas, so every step may find that another server has done
it. A release is taken away only once it has been unwanted for `GRACE_SECONDS` and no server may ask for it
(`assistant.rollout.residence`). Callers meet a release only once every replica holds it; until then what was live
before goes on. What cannot be done is told once, and tried again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from sqlalchemy import select

from assistant.engine.adapters import Adapters
from assistant.engine.fleet import Replica
from assistant.errors import SottoError
from assistant.rollout.ledger import Ledger, Traffic
from assistant.rollout.residence import Residences
from assistant.rollout.routing import Router
from assistant.state.database import Database
from assistant.state.models import Replica as ReplicaRow
from federation.releases.errors import ReleaseError
from federation.releases.store import Store

EVERY_SECONDS = 0.5
GRACE_SECONDS = 5.0
IDLE_SECONDS = 3600.0
"""How long a release's folder stays after any program of this machine used it last."""
PATIENCE_SECONDS = 30.0
"""How long callers keep the release that was live before, where a replica does not take the new one."""
_TELL_SECONDS = 2.0
_LOG = logging.getLogger(__name__)


class Releases(Protocol):
    """Where releases come from: see `federation.releases.registry.Registry`."""

    store: Store

    def fetch(self, reference: str, /) -> object:
        """Brings a release into the store."""
        ...


class _Wanted(NamedTuple):
    """What the ledger wants, by replicas' addresses whether they are draining, and what other servers take away."""

    traffic: Traffic
    live_rollout: int
    replicas: dict[str, bool]
    leaving: frozenset[str]


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
        self._residences, self._telling = Residences(database, ledger, clock), asyncio.Lock()
        self._fetching = asyncio.Lock()
        self._waiting_since: float | None = None
        self._unwanted: dict[str, float] = {}
        self._told: dict[tuple[str, str], str] = {}
        self.faults: dict[str, str] = {}
        """What keeps a release from being ready, by its digest: for whoever asks for the rollout's status."""

    async def run(self) -> None:
        """Steps every `EVERY_SECONDS` until cancelled; a step that fails is told and taken again."""
        await asyncio.gather(self._again(self.step, EVERY_SECONDS), self._again(self.tell, _TELL_SECONDS))

    async def _again(self, act: Callable[[], Awaitable[object]], seconds: float) -> None:
        while True:
            try:
                await act()
            except Exception as error:  # a loop that ended would leave the replicas as they are for good
                self._tell("A step failed:", "", error)
            await asyncio.sleep(seconds)

    async def step(self) -> None:
        """One look at everything."""
        wanted = await asyncio.to_thread(self._read)
        if not any(replica.up for replica in self.router.fleet.replicas.values()):
            # A server that begins must not answer from the base model while it loads the live release.
            self._adopt(wanted)
        await self._follow(wanted.replicas)
        replicas = list(self.router.fleet.replicas.values())
        await asyncio.gather(*(self._mend(replica, wanted) for replica in replicas))
        if self._may_adopt(wanted.traffic.live):
            self._adopt(wanted)
        await self.tell()
        await self._take_away(wanted.traffic)

    async def tell(self) -> None:
        """Tells the other servers what this one uses."""
        async with self._telling:
            await asyncio.to_thread(self._residences.tell, dict(self._used()))

    def _used(self) -> dict[str, int]:
        """The releases that callers may meet here, and those of replies under way, with how many those are."""
        under_way = {release: count for release, count in self.router.in_flight.items() if count}
        return {**dict.fromkeys(self.router.traffic.wanted, 0), **under_way}

    def _read(self) -> _Wanted:
        with self._database.read() as session:
            rows = {row.url: row.draining for row in session.scalars(select(ReplicaRow))}
        if self._own:
            rows.setdefault(self._own, False)
        traffic, live_rollout = self._ledger.traffic(), self._ledger.live_rollout()
        # Looked up last: what leaves once it is wanted was not let go.
        return _Wanted(traffic, live_rollout, rows, self._residences.others().leaving)

    def _adopt(self, wanted: _Wanted) -> None:
        self.router.traffic, self.router.live_rollout = wanted.traffic, wanted.live_rollout
        self._waiting_since = None

    def _may_adopt(self, live: str | None) -> bool:
        """Whether callers may meet ``live``: where all replicas hold it, or nothing better is to be had."""
        before, fleet = self.router.traffic.live, self.router.fleet
        if live in (None, before) or live in fleet.everywhere or not (before is None or before in fleet.routable):
            return True
        if self._waiting_since is None:
            self._waiting_since = self._clock()
        return live in fleet.routable and self._clock() - self._waiting_since >= PATIENCE_SECONDS

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

    async def _mend(self, replica: Replica, wanted: _Wanted) -> None:
        if not await replica.engine.healthy():
            replica.up = False
            return
        if replica.adapters is not None:
            for digest in wanted.leaving:
                replica.adapters.forget(digest)
            try:
                await replica.adapters.present()
            except SottoError as error:
                # It answers, but what it holds is not known: it might answer under a release it has lost.
                replica.up = False
                self._tell(replica.url, "", error)
                return
            for digest in sorted(wanted.traffic.wanted - wanted.leaving - replica.routable):
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

    async def _take_away(self, traffic: Traffic) -> None:
        now = self._clock()
        replicas = list(self.router.fleet.replicas.values())
        held = [(replica.url, replica.adapters) for replica in replicas if replica.up and replica.adapters]
        present: set[str] = set()
        for url, adapters in held:
            try:
                present |= await adapters.present()
            except SottoError as error:
                self._tell(url, "", error)
        kept = traffic.wanted | self._used().keys()
        self._unwanted = {digest: self._unwanted.get(digest, now) for digest in present - kept}
        long_since = [digest for digest, since in self._unwanted.items() if now - since >= self._grace]
        if long_since:
            async with self._telling:
                leaving = await asyncio.to_thread(self._residences.leave, long_since)
            try:
                for digest in leaving:
                    await asyncio.gather(*(self._unload(url, adapters, digest) for url, adapters in held))
            finally:
                async with self._telling:
                    await asyncio.to_thread(self._residences.left)
        if replicas and len(held) == len(replicas):
            await asyncio.to_thread(self._collect, present | kept)

    async def _unload(self, url: str, adapters: Adapters, digest: str) -> None:
        try:
            await adapters.unload(digest)
        except SottoError as error:
            self._tell(url, digest, error)

    def _collect(self, used: frozenset[str] | set[str]) -> None:
        """Removes the folders of releases that no replica names, nobody may want back soon, and nothing has read."""
        for digest in used | self._ledger.kept():
            self._store.touch(digest)
        for digest in self._store.digests():
            if self._store.idle(digest) >= IDLE_SECONDS:
                self._store.remove(digest)

    def _tell(self, place: str, digest: str, error: Exception) -> None:
        if self._told.get((place, digest)) != str(error):
            self._told[place, digest] = str(error)
            _LOG.warning("%s %s: %s", place, digest[:12], error)
