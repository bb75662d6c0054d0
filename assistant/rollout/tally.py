"""Counts what the arms do, in memory, and adds it to the ledger every second: no reply waits for the database.

A process that is killed loses the last second's counts. Verdicts are written at once (`assistant.rollout.feedback`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections import defaultdict
from typing import cast

from assistant.errors import StateUnavailable
from assistant.rollout.arms import Arm, Counted
from assistant.rollout.judge import Count
from assistant.rollout.ledger import Ledger

EVERY_SECONDS = 1.0
_LOG = logging.getLogger(__name__)
_Key = tuple[int, int, str, int]


class Tally:
    """The counts since the last time they were written. May be shared by threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._lock = ledger, threading.Lock()
        self._sums: dict[_Key, list[float]] = defaultdict(lambda: [0.0] * 5)

    def turn(self, rollout: int, step: int, arm: Arm, bucket: int, seconds: float | None, *, shown: bool) -> None:
        """One turn, which took ``seconds``, or failed: None. ``shown`` when it recommended anything."""
        with self._lock:
            sums = self._sums[rollout, step, arm, bucket]
            sums[0] += shown
            sums[1] += 1
            if seconds is None:
                sums[2] += 1
            else:
                sums[3] += math.log(max(seconds, 1e-3))

    def shadow(self, rollout: int, step: int, bucket: int, seconds: float | None, *, agreed: bool) -> None:
        """One choice in the shadow, which took ``seconds``, or failed: None. ``agreed`` on the first item."""
        with self._lock:
            sums = self._sums[rollout, step, "shadow", bucket]
            sums[0] += seconds is not None
            sums[1] += 1
            if seconds is None:
                sums[2] += 1
            else:
                sums[3] += math.log(max(seconds, 1e-3))
                sums[4] += agreed

    def write(self) -> None:
        """Adds all to the ledger; what cannot be written is kept for the next time."""
        with self._lock:
            taken, self._sums = self._sums, defaultdict(lambda: [0.0] * 5)
        by_rollout: dict[int, list[Count]] = defaultdict(list)
        for (rollout, step, arm, bucket), (shown, requests, errors, logs, accepted) in taken.items():
            counted = {"shown": shown, "accepted": accepted, "requests": requests, "errors": errors}
            whole = {name: int(number) for name, number in counted.items()}
            by_rollout[rollout].append(Count(step, cast("Counted", arm), bucket, **whole, log_seconds=logs))
        for rollout, counts in by_rollout.items():
            try:
                self._ledger.count(rollout, counts)
            except StateUnavailable:
                self._put_back({key: sums for key, sums in taken.items() if key[0] == rollout})
                _LOG.warning("The counts of rollout %d could not be written; trying again.", rollout)

    async def keep(self) -> None:
        """Writes every `EVERY_SECONDS` until cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(EVERY_SECONDS)
                await asyncio.to_thread(self.write)
        finally:
            self.write()

    def _put_back(self, taken: dict[_Key, list[float]]) -> None:
        with self._lock:
            for key, sums in taken.items():
                self._sums[key] = [one + other for one, other in zip(self._sums[key], sums, strict=True)]
