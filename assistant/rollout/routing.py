"""Decides which release answers a caller, and keeps it loaded until the reply has ended.

What is live and what is on its way is read from the ledger by `assistant.rollout.reconcile`, at most a second old. A
reply that has begun finishes on its release whatever is decided meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from assistant.dialogue.types import Adapter, Voice
from assistant.engine.adapters import Policy
from assistant.engine.fleet import Fleet
from assistant.engine.soft_prompts import Embeddings
from assistant.errors import EngineUnavailable, NotFound
from assistant.rollout.arms import place
from assistant.rollout.ledger import Traffic
from assistant.rollout.receipts import Receipts, Role
from federation.releases.manifest import GLOBAL

BASE = "base"


class Unseen(NamedTuple):
    """A release that chooses in the shadow, for the ``rollout`` of this number."""

    policy: Policy
    rollout: int


@dataclass(frozen=True, eq=False)
class Route:
    """How one caller is answered. ``rollout`` 0 is the base model before any rollout; ``shadow`` chooses unseen."""

    voice: Voice
    rollout: int
    step: int
    role: Role
    bucket: int
    release: str | None
    shadow: Unseen | None = None


@dataclass
class Router:
    """The routes over a fleet. ``model`` is the base model's name in the engine; ``traffic`` is set from outside."""

    fleet: Fleet
    receipts: Receipts
    secret: bytes
    model: str
    embeddings: Embeddings | None = None
    traffic: Traffic = field(default_factory=lambda: Traffic(None, None))
    live_rollout: int = 0
    in_flight: Counter[str] = field(default_factory=Counter)

    @property
    def ready(self) -> bool:
        """Whether a replica holds the live release, so that everybody can be answered."""
        return self.traffic.live is None or self.traffic.live in self.fleet.routable

    @contextmanager
    def route(self, caller: str, cohort: str = GLOBAL) -> Iterator[Route]:
        """The route of ``caller``, whose release stays loaded while this lasts.

        EngineUnavailable while no replica holds the live release. Who would meet a canary that a replica does not hold
        yet is answered by the live release, and counted for neither arm.
        """
        entry = self.traffic.rollout
        where = place(caller, entry.id if entry else self.live_rollout, self.secret)
        role: Role = "live"
        release = self.traffic.live
        if entry is not None and not entry.plan.shadow:
            role = where.arm(entry.share)
            if role == "canary" and entry.release not in self.fleet.everywhere:
                role = "live"
            elif role == "canary":
                release = entry.release
        number, step = (self.live_rollout, 0) if entry is None or role == "live" else (entry.id, entry.step)

        def recommendation_id() -> str:
            return self.receipts.write(number, step, role, where.bucket)

        with self._policy(release, cohort) as policy, self._shadow(cohort) as shadow:
            if policy is None:
                voice = Voice(self.model, None, Adapter(arm=BASE if role == "live" else role), recommendation_id)
            else:
                adapter = Adapter(name=policy.cohort, release=release, digest=release, arm=role)
                voice = Voice(policy.model, policy.soft_prompt, adapter, recommendation_id)
            yield Route(voice, number, step, role, where.bucket, release, shadow)

    @contextmanager
    def _shadow(self, cohort: str) -> Iterator[Unseen | None]:
        """The release that chooses unseen, where one is to and the replicas hold it."""
        entry = self.traffic.rollout
        if entry is None or not entry.plan.shadow or entry.release not in self.fleet.everywhere:
            yield None
            return
        with self._policy(entry.release, cohort) as policy:
            yield Unseen(policy, entry.id) if policy else None

    @contextmanager
    def _policy(self, release: str | None, cohort: str) -> Iterator[Policy | None]:
        if release is None:
            yield None
            return
        with ExitStack() as held:
            try:
                policy = held.enter_context(self.fleet.policy(release, cohort))
            except NotFound as error:
                raise EngineUnavailable("The live release is being loaded. Try again.", 1) from error
            held.enter_context(self.in_use(release))
            yield policy

    @contextmanager
    def in_use(self, release: str) -> Iterator[None]:
        """No server takes ``release`` away while this lasts."""
        self.in_flight[release] += 1
        try:
            yield
        finally:
            self.in_flight[release] -= 1
