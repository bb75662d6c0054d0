"""All that one server needs of rollouts, put together over its database and its replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

from assistant.engine.fleet import Fleet
from assistant.engine.soft_prompts import Embeddings
from assistant.rollout.controller import Controller
from assistant.rollout.feedback import FeedbackBox
from assistant.rollout.gate import Gate
from assistant.rollout.judge import Limits
from assistant.rollout.ledger import Ledger
from assistant.rollout.receipts import Receipts
from assistant.rollout.reconcile import Reconciler
from assistant.rollout.replicas import Replicas
from assistant.rollout.routing import Router
from assistant.rollout.tally import Tally
from assistant.state.database import Database


@dataclass(frozen=True)
class Rollouts:
    """The parts. Without a ``reconciler`` nothing is ever loaded: the base model answers everyone."""

    ledger: Ledger
    router: Router
    tally: Tally
    feedback: FeedbackBox
    controller: Controller
    replicas: Replicas
    gate: Gate
    reconciler: Reconciler | None = None

    @classmethod
    def of(
        cls,
        database: Database,
        model: str,
        *,
        fleet: Fleet | None = None,
        gate: Callable[[Router], Gate] | None = None,
        limits: Limits | None = None,
        embeddings: Embeddings | None = None,
        reconciler: Callable[[Router, Ledger, Database], Reconciler] | None = None,
    ) -> Self:
        """Over ``database``; ``model`` is the base model's name in the engine."""
        ledger = Ledger(database)
        secret = ledger.secret()
        receipts = Receipts(secret)
        router = Router(fleet or Fleet(), receipts, secret, model, embeddings)
        return cls(
            ledger,
            router,
            Tally(ledger),
            FeedbackBox(database, ledger, receipts),
            Controller(ledger, limits),
            Replicas(database, ledger),
            gate(router) if gate else Gate(),
            reconciler(router, ledger, database) if reconciler else None,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Counts are written while this lasts, and with a reconciler replicas are kept and canaries judged."""
        loops = [self.tally.keep(), self.feedback.keep()]
        if self.reconciler is not None:
            loops += [self.reconciler.run(), self.controller.run()]
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
