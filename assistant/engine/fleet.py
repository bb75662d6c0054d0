"""Many vLLM replicas as one engine: each call goes to the least busy one that is ready for it.

Ready for the base model is a replica that answers; ready for an adapter one that holds it, verified. A
call that a replica breaks off before anything was shown is made once more elsewhere; nothing is ever shown twice.
For one event loop.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from assistant.engine.adapters import Adapters, Policy
from assistant.engine.gateway import Completion, Delta, Engine, FloatArray, Sampling, VllmEngine
from assistant.engine.soft_prompts import SoftPrompt
from assistant.errors import EngineError, EngineRejected, EngineUnavailable, NotFound
from federation.releases.manifest import GLOBAL

__all__ = ["Fleet", "Replica"]

T = TypeVar("T")
_GONE = 404
_CALLS = 2


@dataclass(eq=False)
class Replica:
    """One vLLM. ``up`` and ``draining`` are kept by `assistant.rollout.reconcile`; ``busy`` are its calls under way."""

    url: str
    engine: VllmEngine
    adapters: Adapters | None = None
    up: bool = False
    draining: bool = False
    busy: int = field(default=0, init=False)

    def holds(self, model: str) -> bool:
        """Whether calls under the name ``model`` may go there."""
        digest, dot, _ = model.partition(".")
        return self.up and not self.draining and (not dot or digest in self.routable)

    @property
    def routable(self) -> frozenset[str]:
        """The digests of the releases that it holds, by `Adapters`' own check."""
        return self.adapters.routable if self.adapters else frozenset()


class Fleet(Engine):
    """See `Engine`. ``replicas`` change at run time; by address."""

    def __init__(self, replicas: Sequence[Replica] = ()) -> None:
        self.replicas = {replica.url: replica for replica in replicas}

    @property
    def routable(self) -> frozenset[str]:
        """The digests of the releases that at least one replica is ready for."""
        return frozenset().union(*(replica.routable for replica in self._ready()))

    @property
    def everywhere(self) -> frozenset[str]:
        """The digests of the releases that every replica which calls may go to is ready for."""
        ready = self._ready()
        return frozenset.intersection(*(replica.routable for replica in ready)) if ready else frozenset()

    def _ready(self) -> list[Replica]:
        return [replica for replica in self.replicas.values() if replica.up and not replica.draining]

    @contextmanager
    def policy(self, digest: str, cohort: str = GLOBAL) -> Iterator[Policy]:
        """How to answer under the release, which no replica unloads while this lasts. NotFound where none holds it."""
        with ExitStack() as held:
            found: Policy | None = None
            for replica in self.replicas.values():
                if replica.adapters and digest in replica.routable:
                    policy = held.enter_context(replica.adapters.policy(digest, cohort))
                    found = found or policy
            if found is None:
                raise NotFound(f"No replica holds the release {digest}.")
            yield found

    async def generate(
        self,
        prompt: Sequence[int],
        *,
        model: str,
        sampling: Sampling,
        schema: Mapping[str, Any] | None = None,
        soft_prompt: SoftPrompt | None = None,
    ) -> AsyncGenerator[Delta, None]:
        """See `Engine.generate`."""
        tried: list[Replica] = []
        while True:
            begun = False
            try:
                with self._at(model, tried) as replica:
                    stream = replica.engine.generate(
                        prompt, model=model, sampling=sampling, schema=schema, soft_prompt=soft_prompt
                    )
                    async with aclosing(stream) as deltas:
                        async for delta in deltas:
                            begun = True
                            yield delta
                return
            except EngineError as error:
                if begun or not self._elsewhere(model, tried, error):
                    raise

    async def complete(
        self,
        prompt: Sequence[int],
        *,
        model: str,
        sampling: Sampling,
        schema: Mapping[str, Any] | None = None,
        soft_prompt: SoftPrompt | None = None,
    ) -> Completion:
        """See `Engine.complete`."""
        return await self._call(
            model,
            lambda engine: engine.complete(
                prompt, model=model, sampling=sampling, schema=schema, soft_prompt=soft_prompt
            ),
        )

    async def label_logprobs(
        self, prompt: Sequence[int], labels: Sequence[int], *, model: str, soft_prompt: SoftPrompt | None = None
    ) -> FloatArray:
        """See `Engine.label_logprobs`."""
        return await self._call(
            model, lambda engine: engine.label_logprobs(prompt, labels, model=model, soft_prompt=soft_prompt)
        )

    async def models(self) -> list[str]:
        """The names that any replica serves."""
        names: set[str] = set()
        for replica in self.replicas.values():
            if replica.up:
                names.update(await replica.engine.models())
        return sorted(names)

    async def healthy(self) -> bool:
        """Whether any replica that calls may go to answers."""
        return any([await replica.engine.healthy() for replica in self._ready()])

    async def aclose(self) -> None:
        """Closes the connections to every replica."""
        for replica in self.replicas.values():
            await replica.engine.aclose()

    async def _call(self, model: str, call: Callable[[VllmEngine], Awaitable[T]]) -> T:
        tried: list[Replica] = []
        while True:
            try:
                with self._at(model, tried) as replica:
                    return await call(replica.engine)
            except EngineError as error:
                if not self._elsewhere(model, tried, error):
                    raise

    @contextmanager
    def _at(self, model: str, tried: list[Replica]) -> Iterator[Replica]:
        """The least busy replica that is ready and was not ``tried``."""
        ready = [one for one in self.replicas.values() if one not in tried and one.holds(model)]
        if not ready:
            raise EngineUnavailable("No replica of the engine is ready: they are starting or restarting. Try again.")
        replica = min(ready, key=lambda one: one.busy)
        tried.append(replica)
        replica.busy += 1
        try:
            yield replica
        finally:
            replica.busy -= 1

    def _elsewhere(self, model: str, tried: Sequence[Replica], error: EngineError) -> bool:
        """Whether to try another replica after ``error``; the one at fault is left out until it was looked at."""
        lost = isinstance(error, EngineRejected) and error.status == _GONE
        if not (isinstance(error, EngineUnavailable) or lost) or not tried:
            return False
        tried[-1].up = False
        return len(tried) < _CALLS and any(one.holds(model) and one not in tried for one in self.replicas.values())
