"""Verdicts on recommendations: one in force for each, changed or withdrawn at will, counted by arm.

Of a verdict the database keeps a keyed hash of the recommendation's id, the verdict and when; the arms' figures keep
sums. Neither who gave it nor what was recommended ever comes here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, cast

from sqlalchemy import delete

from assistant.errors import StateUnavailable
from assistant.rollout.arms import ARMS, Arm
from assistant.rollout.judge import Count
from assistant.rollout.ledger import Ledger
from assistant.rollout.receipts import MOST_AGE_DAYS, Receipt, Receipts
from assistant.state.database import Database, exclude
from assistant.state.models import Feedback

Verdict = Literal["accepted", "rejected", "withdrawn"]
PRUNE_SECONDS = 3600.0


@dataclass(frozen=True)
class Given:
    """A verdict in force, with the one before it; ``release`` made the recommendation, None: the base model."""

    receipt: Receipt
    release: str | None
    verdict: Verdict
    before: Verdict


class FeedbackBox:
    """Takes verdicts. May be shared by threads; calls block."""

    def __init__(
        self, database: Database, ledger: Ledger, receipts: Receipts, clock: Callable[[], float] = time.time
    ) -> None:
        self._database, self._ledger, self._receipts, self._clock = database, ledger, receipts, clock

    def give(self, recommendation_id: str, verdict: Verdict) -> Given:
        """Puts ``verdict`` in force; the same again changes nothing. InvalidRequest for an id that is none of ours."""
        receipt = self._receipts.read(recommendation_id)
        identity, now = self._receipts.digest(recommendation_id), self._clock()
        with self._database.write() as session:
            exclude(session.connection(), f"feedback {identity}")
            row = session.get(Feedback, identity)
            before = cast("Verdict", row.verdict) if row is not None else "withdrawn"
            if verdict == "withdrawn" and row is not None:
                session.delete(row)
            elif row is not None:
                row.verdict, row.at = verdict, now
            elif verdict != "withdrawn":
                session.add(Feedback(id=identity, verdict=verdict, at=now))
            change = (verdict == "accepted") - (before == "accepted")
            if change and receipt.role in ARMS:
                arm = cast("Arm", receipt.role)
                count = Count(receipt.step, arm, receipt.bucket, accepted=change)
                self._ledger.add(session, receipt.rollout, count)
        return Given(receipt, self._release(receipt), verdict, before)

    async def keep(self) -> None:
        """Prunes every `PRUNE_SECONDS` until cancelled."""
        while True:
            with suppress(StateUnavailable):  # told by whoever needs the database sooner
                await asyncio.to_thread(self.prune)
            await asyncio.sleep(PRUNE_SECONDS)

    def _release(self, receipt: Receipt) -> str | None:
        if not receipt.rollout:
            return None
        entry = self._ledger.get(receipt.rollout)
        return entry.replaces if receipt.role == "control" else entry.release

    def prune(self) -> int:
        """Drops verdicts too old to be changed; returns how many."""
        oldest = self._clock() - (MOST_AGE_DAYS + 1) * 24 * 3600
        with self._database.connection() as connection:
            return connection.execute(delete(Feedback).where(Feedback.at < oldest)).rowcount
