"""Verdicts on recommendations: one in force for each, changed or withdrawn at will, counted by arm.

Of a verdict the database keeps a keyed hash of the recommendation's id, the verdict and when; the arms' figures keep
sums. Neither who gave it nor what was recommended ever comes here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

from sqlalchemy import delete

from assistant.rollout.arms import ARMS, Arm
from assistant.rollout.judge import Count
from assistant.rollout.ledger import Ledger
from assistant.rollout.receipts import MOST_AGE_DAYS, Receipt, Receipts
from assistant.state.database import Database, exclude
from assistant.state.models import Feedback

Verdict = Literal["accepted", "rejected", "withdrawn"]


@dataclass(frozen=True)
class Given:
    """A verdict in force, with the one before it."""

    receipt: Receipt
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
        return Given(receipt, verdict, before)

    def prune(self) -> int:
        """Drops verdicts too old to be changed; returns how many."""
        oldest = self._clock() - (MOST_AGE_DAYS + 1) * 24 * 3600
        with self._database.connection() as connection:
            return connection.execute(delete(Feedback).where(Feedback.at < oldest)).rowcount
