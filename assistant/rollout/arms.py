"""Who meets the canary: decided by a keyed hash of the caller, so the same people do while its share grows.

Nothing is kept of a caller: who knows the database but not the secret cannot tell which arm a person was in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

Arm = Literal["control", "canary"]
ARMS: tuple[Arm, ...] = ("control", "canary")
Counted = Literal["control", "canary", "shadow"]
"""What is counted apart: the arms, and the release that chooses in their shadow."""
BUCKETS = 64
"""Callers fall into this many groups, by which the spread of what they do is measured (`assistant.rollout.judge`)."""

HOLDOUT = 0.05
"""The callers who meet no canary before it is live: at a share of 100 %, too, there is a control to judge beside."""


@dataclass(frozen=True)
class Place:
    """Where a caller stands in one rollout: a ``position`` in [0, 1) and one of `BUCKETS` groups of callers."""

    position: float
    bucket: int

    def arm(self, share: float) -> Arm:
        """The arm at a canary's ``share`` (0 to 1). Who is in the canary stays in it while the share grows.

        `HOLDOUT` of the callers are the control of any share.
        """
        return "canary" if self.position < min(share, 1.0 - HOLDOUT) else "control"


def place(caller: str, rollout: int, secret: bytes) -> Place:
    """The place of ``caller`` in the rollout of this number; another rollout draws anew. ``secret`` has 16 to 64 bytes.

    Position and bucket are independent.
    """
    digest = hashlib.blake2b(f"{rollout}:{caller}".encode(), key=secret, digest_size=16, person=b"sotto arm").digest()
    return Place(int.from_bytes(digest[:8], "big") / 2**64, int.from_bytes(digest[8:], "big") % BUCKETS)
