"""Opens the fleet, the registry and the gate that the settings say. The one place where rollouts meet MLflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from anyio import from_thread

from assistant.engine.adapters import Adapters
from assistant.engine.fleet import Fleet, Replica
from assistant.engine.gateway import VllmEngine
from assistant.engine.soft_prompts import Embeddings
from assistant.errors import SottoError
from assistant.rollout.checks import even, no_worse, talks_no_worse, whole, within_budget
from assistant.rollout.evaluate import Evaluator, read_held_out
from assistant.rollout.gate import Gate
from assistant.rollout.ledger import Ledger
from assistant.rollout.reconcile import Reconciler
from assistant.rollout.routing import Router
from assistant.rollout.service import Rollouts
from assistant.settings import Settings
from assistant.state.database import Database
from federation.releases.base import Served, read_served
from federation.releases.errors import WrongBase
from federation.releases.registry import Registry
from federation.releases.verify import Limits
from prompts.build import ChatTokenizer
from retrieval.search import Library


class Opened:
    """A fleet over the base model in ``folder``, which begins with the replica at ``url``.

    ``adapters`` is False where the model takes none here (no such modules, embeddings that are scaled within the model)
    or the settings want none: then the base model answers everyone.
    """

    def __init__(self, settings: Settings, folder: Path, url: str, model: str, context: int) -> None:
        self._settings, self._folder, self._model, self._context = settings, folder, model, context
        self._registry = Registry(settings.home, settings.mlflow_uri)
        self._limits = Limits(rank=max(1, settings.lora_rank))
        self._served, self._embeddings = self._read(folder) if settings.lora_rank else (None, None)
        self.own = self.replica(url)
        self.fleet = Fleet([self.own])

    @property
    def adapters(self) -> bool:
        """Whether releases can be served."""
        return self._served is not None

    def replica(self, url: str) -> Replica:
        """The replica at ``url``, not looked at yet."""
        engine = VllmEngine(url, context=self._context, embeddings=self._embeddings)
        adapters = Adapters(engine, self._registry.store, self._served, self._limits) if self._served else None
        return Replica(url, engine, adapters)

    def rollouts(self, library: Library, tokenizer: ChatTokenizer) -> Callable[[Database], Rollouts]:
        """Puts the service together over a database; the gate measures releases over ``library``."""

        def made(database: Database) -> Rollouts:
            return Rollouts.of(
                database,
                self._model,
                fleet=self.fleet,
                gate=lambda router: self._gate(router, library, tokenizer),
                embeddings=self._embeddings,
                reconciler=self._reconciler,
            )

        return made

    def _reconciler(self, router: Router, ledger: Ledger, database: Database) -> Reconciler:
        return Reconciler(router, ledger, database, self._registry, self.replica, own=self.own.url)

    def _gate(self, router: Router, library: Library, tokenizer: ChatTokenizer) -> Gate:
        if self._served is None:
            return Gate()
        store, settings = self._registry.store, self._settings
        events = read_held_out(settings.gate_events) if settings.gate_events else ()
        measured = Evaluator(router, self.own, library, tokenizer, events, settings.gate_conversations)
        checks = [whole(store, self._limits, self._served, self._registry.fetch), even(store)]
        if self._settings.most_epsilon:
            checks.append(within_budget(store, self._settings.most_epsilon))
        # The gate runs in a thread of the server's, and the engine is asked from its event loop.
        if events:
            checks.append(no_worse(lambda release: from_thread.run(measured.ranking, release)))
        if settings.gate_conversations:
            checks.append(talks_no_worse(lambda release: from_thread.run(measured.talk, release)))
        return Gate(checks)

    @staticmethod
    def _read(folder: Path) -> tuple[Served | None, Embeddings | None]:
        try:
            served = read_served(folder)
        except WrongBase:
            return None, None
        try:
            return served, Embeddings.open(folder)
        except SottoError:
            return served, None
