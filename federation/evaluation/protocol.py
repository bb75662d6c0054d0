"""The ranking task: leave-one-out in time, as arrays of integers. Knows histories and nothing of models.

A person's last item tests, the one before validates, the others train; people with fewer than three items are left
out. An item met again counts at its first meeting. Several events in one second have no order that means anything: file
order follows film numbers in some data sets, and a model of what follows what would learn it. Ties are therefore
broken by a digest of person and item, the same on every machine.

Candidates of the full ranking are all items but those the person trains with, and the held-out item of the other
purpose: the validation item is no candidate in testing, the test item is none in validation, as in NCF (He et al.
2017) and PFedRec (Zhang et al. 2023). The history a model may look at in testing ends with the training items: the
validation item is not shown to it. Training may take held-out items for negatives: leaving them out would tell of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from federation.device.base import Event

__all__ = ["FEWEST", "Held", "Integers", "Task", "build_task"]

Integers = NDArray[np.int64]
Held = Literal["validation", "test"]

FEWEST = 3
"""A person with fewer items cannot be split."""


@dataclass(frozen=True)
class Task:
    """``train`` holds each person's items, oldest first; ``validation`` and ``test`` (people,) one item each.

    Items are numbers: places in ``items``, which holds their ids; people are places in ``people``.
    """

    people: tuple[str, ...]
    items: tuple[str, ...]
    train: tuple[Integers, ...]
    validation: Integers
    test: Integers

    def held(self, held: Held) -> Integers:
        """The held-out item of each person (people,)."""
        return self.validation if held == "validation" else self.test

    def candidates(self, person: int, held: Held) -> Integers:
        """The items of the full ranking, in order of number; the held-out one is among them."""
        other = self.test if held == "validation" else self.validation
        return self._without(self.train[person], other[person])

    def negatives(self, seed: int, count: int = 99) -> Integers:
        """``count`` items that each person never met (people, count), drawn without repeats by ``seed``.

        ValueError where somebody met so many items that fewer are left.
        """
        rng = np.random.default_rng(seed)
        drawn = np.empty((len(self.people), count), dtype=np.int64)
        for person, known in enumerate(self.train):
            unmet = self._without(known, self.validation[person], self.test[person])
            if len(unmet) < count:
                raise ValueError(f"{self.people[person]} leaves {len(unmet)} items unmet; {count} negatives are wanted")
            drawn[person] = rng.choice(unmet, count, replace=False)
        return drawn

    def _without(self, known: Integers, *more: np.int64) -> Integers:
        left = np.ones(len(self.items), dtype=bool)
        left[known] = False
        left[list(more)] = False
        return np.flatnonzero(left)


def build_task(histories: Mapping[str, Sequence[Event]], items: Iterable[str]) -> Task:
    """The task of ``histories``, by person, over ``items``; ValueError where nobody has enough events.

    People keep the order of ``histories``; items are in order of id, so that numbers tell nothing.
    """
    ids = tuple(sorted(items))
    place = {item: number for number, item in enumerate(ids)}
    ordered = {person: _ordered(person, events, place) for person, events in histories.items()}
    kept = {person: known for person, known in ordered.items() if len(known) >= FEWEST}
    if not kept:
        raise ValueError(f"nobody has the {FEWEST} items that a split needs")
    known = list(kept.values())
    return Task(
        people=tuple(kept),
        items=ids,
        train=tuple(one[:-2] for one in known),
        validation=np.array([one[-2] for one in known]),
        test=np.array([one[-1] for one in known]),
    )


def _ordered(person: str, events: Sequence[Event], place: Mapping[str, int]) -> Integers:
    in_time = sorted(events, key=lambda event: (event.at, _digest(person, event.item)))
    return np.array(list(dict.fromkeys(place[event.item] for event in in_time)), dtype=np.int64)


def _digest(person: str, item: str) -> bytes:
    return blake2b(f"{person}\0{item}".encode(), digest_size=8).digest()
