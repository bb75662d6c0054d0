"""Judges the rollout under way: harm rolls it back, a step passed without harm takes it further, a person may wait.

Any number of servers may judge at once: what a judgement changes, the ledger changes once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from assistant.errors import SottoError
from assistant.rollout.judge import Limits, Verdict, judge
from assistant.rollout.ledger import Entry, Ledger

EVERY_SECONDS = 1.0
WHO = "canary"


@dataclass(frozen=True)
class Judgement:
    """What is known of a rollout: its verdicts, and how many turns the canary has answered in the present step."""

    entry: Entry
    verdicts: tuple[Verdict, ...]
    turns: int

    @property
    def harm(self) -> str:
        """What is wrong, in words; empty where nothing is."""
        return "; ".join(told(verdict) for verdict in self.verdicts if verdict.harmful)


class Controller:
    """Advances and rolls back. Calls block: see `run`."""

    def __init__(self, ledger: Ledger, limits: Limits | None = None, clock: Callable[[], float] = time.time) -> None:
        self._ledger, self._limits, self._clock = ledger, limits or Limits(), clock

    def look(self, entry: Entry) -> Judgement:
        """What is known of ``entry`` now."""
        counts = self._ledger.counts(entry.id)
        turns = sum(one.requests for one in counts if one.step == entry.step and one.arm == "canary")
        return Judgement(entry, judge(counts, self._limits), turns)

    def step(self) -> Judgement | None:
        """Judges what is under way and acts on it; returns what it judged by."""
        entry = self._ledger.traffic().rollout
        if entry is None:
            return None
        found = self.look(entry)
        if found.harm:
            self._ledger.roll_back(WHO, found.harm, rollout=entry.id)
        elif self._passed(found):
            why = f"step {entry.plan.steps[entry.step]:g} % passed: {found.turns} turns without harm found"
            self._ledger.advance(entry.id, entry.step, WHO, why)
        return found

    async def run(self) -> None:
        """Steps every `EVERY_SECONDS` until cancelled."""
        while True:
            with suppress(SottoError):  # the reconciler tells of a ledger that is away
                await asyncio.to_thread(self.step)
            await asyncio.sleep(EVERY_SECONDS)

    def _passed(self, found: Judgement) -> bool:
        entry = found.entry
        if entry.state != "running" or entry.plan.manual or entry.plan.shadow:
            return False
        lasted = self._clock() - entry.step_at
        return lasted >= entry.plan.step_seconds and found.turns >= entry.plan.step_requests


def told(verdict: Verdict) -> str:
    """A verdict in words."""
    if verdict.control is None or verdict.canary is None:
        return f"{verdict.measure}: too little is known"
    if verdict.measure == "latency":
        return f"latency: {verdict.canary:.2f} s against {verdict.control:.2f} s (p = {verdict.p_value:.2g})"
    rates = f"{100 * verdict.canary:.1f} % against {100 * verdict.control:.1f} %"
    return f"{verdict.measure}: {rates} (p = {verdict.p_value:.2g})"
