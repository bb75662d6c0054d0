"""What a device knows of its person: events in time, and how they are split. Knows nothing of stores or models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["liked", "disliked", "seen"]


@dataclass(frozen=True, order=True)
class Event:
    """A person met the item ``item`` (its id) at ``at``, in seconds since the epoch, and thought of it ``verdict``."""

    at: float
    item: str
    verdict: Verdict = "seen"


@dataclass(frozen=True)
class Split:
    """A history in time: the last event tests, the one before validates, the others train; oldest first."""

    train: tuple[Event, ...]
    validation: Event
    test: Event


def split(events: Sequence[Event]) -> Split:
    """The split of ``events`` by time, never at random; ValueError where there are fewer than three."""
    ordered = sorted(events)
    if len(ordered) < 3:
        raise ValueError(f"a history of {len(ordered)} events cannot be split: it needs three")
    return Split(tuple(ordered[:-2]), ordered[-2], ordered[-1])
