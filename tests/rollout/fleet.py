"""Two replicas with vLLM's routes for adapters, over real releases and a real ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import torch

from assistant.engine.adapters import Adapters
from assistant.engine.fleet import Fleet, Replica
from assistant.engine.gateway import VllmEngine
from assistant.engine.soft_prompts import Embeddings
from assistant.rollout.ledger import Ledger
from assistant.rollout.receipts import Receipts
from assistant.rollout.reconcile import Reconciler
from assistant.rollout.routing import Router
from assistant.state.database import Database
from assistant.state.models import Replica as ReplicaRow
from federation.releases.base import Served
from federation.releases.store import Store
from federation.releases.verify import Limits
from tests.engine.test_adapters import FakeLora
from tests.federation.releases.making import BASE, HIDDEN, MODULES, make

URLS = ("http://127.0.0.1:1", "http://127.0.0.1:2")
WHO = "a test"
SECRET = bytes(range(32))
"""The same every time, so that a caller's place is too."""


class Vllm(FakeLora):
    """As `FakeLora`; ``down`` refuses every connection, ``mute`` does not tell what it holds."""

    down = False
    mute = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("refused")
        if request.url.path == "/health":
            return httpx.Response(200)
        return httpx.Response(500) if self.mute else super().__call__(request)

    def restart(self) -> None:
        """Loses every adapter."""
        self.held.clear()


class Source:
    """A registry that is a folder."""

    def __init__(self, root: Path, clock: Callable[[], float]) -> None:
        self.store, self.folders, self.fetched = Store(root / "releases", clock), dict[str, Path](), list[str]()

    def fetch(self, reference: str, /) -> object:
        self.fetched.append(reference)
        return self.store.add(self.folders[reference])


class Stage:
    """One server: a reconciler over two replicas. ``now`` is its clock."""

    def __init__(self, database: Database, root: Path) -> None:
        self.now = 1_800_000_000.0
        self.source, self.root = Source(root, lambda: self.now), root
        self.vllms = {url: Vllm() for url in URLS}
        self.ledger = Ledger(database, lambda: self.now)
        self.router = Router(Fleet(), Receipts(SECRET, lambda: self.now), SECRET, "sotto")
        self.reconciler = Reconciler(
            self.router, self.ledger, database, self.source, self.open, clock=lambda: self.now, grace=5.0
        )
        with database.write() as session:
            for url in URLS:
                if session.get(ReplicaRow, url) is None:
                    session.add(ReplicaRow(url=url, draining=False, added_at=self.now))

    def open(self, url: str) -> Replica:
        transport = httpx.MockTransport(self.vllms[url])
        engine = VllmEngine(url, transport, embeddings=Embeddings(torch.ones(10_000, HIDDEN)))
        return Replica(url, engine, Adapters(engine, self.source.store, Served(BASE, MODULES), Limits(rank=8)))

    def release(self, seed: int, **changes: Any) -> str:
        """The digest of a new release in the registry."""
        folder = self.root / f"made-{seed}"
        digest = make(folder, seed=seed, **changes).digest
        self.source.folders[digest] = folder
        return digest

    def held(self) -> list[set[str]]:
        """The releases that each vLLM holds."""
        return [{name.partition(".")[0] for name in vllm.held} for vllm in self.vllms.values()]
