"""The releases that one vLLM holds: verified, loaded under new names, warmed up, and only then asked for.

Each cohort's LoRA gets a name that holds the release's digest and is loaded from a folder that is named by it, so a
name never stands for other weights: vLLM keeps what it has read by name and path. LoRA and soft prompt of a cohort are
handed out together. A release that is refused changes nothing for the others.

Counts the replies of this process only; which releases are wanted is for `assistant.rollout`, and removing a release's
folder for whoever knows that no engine has it registered: vLLM reads folders again while it runs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from assistant.engine.gateway import VllmEngine
from assistant.engine.soft_prompts import SoftPrompt
from assistant.errors import EngineError, EngineRejected, NotFound
from federation.releases.base import Served
from federation.releases.manifest import GLOBAL
from federation.releases.store import Store
from federation.releases.verify import Limits, Release

__all__ = ["Adapters", "Policy", "adapter_name"]

_WARM_PROMPT, _WARM_LABELS = (1,), (0, 1)


@dataclass(frozen=True, eq=False)
class Policy:
    """How a cohort is answered: the name of its LoRA in the engine, and its soft prompt, float32 (tokens, hidden)."""

    release: str
    cohort: str
    model: str
    soft_prompt: SoftPrompt | None


def adapter_name(digest: str, cohort: str) -> str:
    """The name in the engine of the cohort's LoRA of the release ``digest``."""
    return f"{digest}.{cohort}"


class Adapters:
    """The releases of ``store`` in ``engine``, whose base model is ``served``. For one event loop."""

    def __init__(self, engine: VllmEngine, store: Store, served: Served, limits: Limits) -> None:
        """``limits`` are what the engine was started with: see `assistant.engine.command`."""
        self._engine, self._store, self._served, self._limits = engine, store, served, limits
        self._policies: dict[str, Mapping[str, Policy]] = {}
        self._under_way: Counter[str] = Counter()
        self._draining: dict[str, asyncio.Event] = {}
        self._changing = asyncio.Lock()

    @property
    def routable(self) -> frozenset[str]:
        """The digests of the releases that may be asked for."""
        return frozenset(self._policies)

    def under_way(self, digest: str) -> int:
        """How many replies of this process are under way on the release."""
        return self._under_way[digest]

    @contextmanager
    def policy(self, digest: str, cohort: str = GLOBAL) -> Iterator[Policy]:
        """How to answer ``cohort`` under the release, which stays loaded for as long as this lasts.

        NotFound where the release is not routable. A cohort that the release lacks is answered as `GLOBAL`.
        """
        policies = self._policies.get(digest)
        if policies is None:
            raise NotFound(f"The release {digest} is not loaded on this engine.")
        self._under_way[digest] += 1
        try:
            yield policies.get(cohort, policies[GLOBAL])
        finally:
            self._under_way[digest] -= 1
            if not self._under_way[digest]:
                del self._under_way[digest]
                if waiting := self._draining.pop(digest, None):
                    waiting.set()

    async def load(self, digest: str) -> None:
        """Makes the release routable; nothing happens where it is.

        ReleaseRefused, with the reason, where it may not be served; ReleaseNotFound where the store lacks it;
        EngineError where the engine cannot load it or its numbers come out wrong. What failed is not left behind.
        """
        async with self._changing:
            if digest in self._policies:
                return
            release = await asyncio.to_thread(self._store.get, digest, self._limits, self._served)
            policies = {
                cohort: Policy(digest, cohort, adapter_name(digest, cohort), release.soft_prompt(cohort))
                for cohort in release.cohorts
            }
            added: list[str] = []
            try:
                await self._register(release, policies, added)
                for policy in policies.values():
                    await self._warm(policy)
                self._check_held(await self._engine.adapters(), release, policies)
            except BaseException:
                for name in added:
                    with suppress(EngineError):
                        await self._engine.unload_adapter(name)
                raise
            self._policies[digest] = policies

    async def unload(self, digest: str) -> None:
        """Asks for the release no more, waits for its replies to end, then has the engine forget it.

        Nothing happens where the engine does not hold it. Its folder stays.
        """
        self.forget(digest)
        while self._under_way[digest]:
            await self._draining.setdefault(digest, asyncio.Event()).wait()
        async with self._changing:
            if digest in self._policies:
                return  # wanted again in the meantime
            for name in await self._engine.adapters():
                if name.startswith(adapter_name(digest, "")):
                    await self._engine.unload_adapter(name)

    def forget(self, digest: str) -> None:
        """Asks for the release no more; the engine keeps what it holds of it. Replies under way go on."""
        self._policies.pop(digest, None)

    async def present(self) -> frozenset[str]:
        """The releases that the engine holds adapters of, by its own account, routable or not.

        For whoever reconciles: an engine that was started again has lost them, and what it lost is no longer routable.
        """
        async with self._changing:
            held = await self._engine.adapters()
            for digest, policies in list(self._policies.items()):
                if any(policy.model not in held for policy in policies.values()):
                    del self._policies[digest]
        return frozenset(name.partition(".")[0] for name in held)

    async def _register(self, release: Release, policies: Mapping[str, Policy], added: list[str]) -> None:
        """Loads what the engine lacks of the release; ``added`` gets the names."""
        held = await self._engine.adapters()
        for policy in policies.values():
            if policy.model in held:
                continue
            try:
                await self._engine.load_adapter(policy.model, release.adapter(policy.cohort))
            except EngineRejected:
                # Another server on this engine may have loaded it in the meantime.
                if policy.model not in await self._engine.adapters():
                    raise
            else:
                added.append(policy.model)

    async def _warm(self, policy: Policy) -> None:
        """One token under the adapter; EngineError where its probabilities are not finite."""
        await self._engine.label_logprobs(
            _WARM_PROMPT, _WARM_LABELS, model=policy.model, soft_prompt=policy.soft_prompt
        )

    def _check_held(self, held: Mapping[str, object], release: Release, policies: Mapping[str, Policy]) -> None:
        for policy in policies.values():
            folder = held.get(policy.model)
            if folder != release.adapter(policy.cohort):
                raise EngineError(
                    f"The engine holds {policy.model} from {folder or 'nowhere'} and not from the store's folder. "
                    "Unload it, or restart the engine."
                )
