"""What a device tells about items, once: kernels over its history, which the server only ever sees summed.

A history of n items gives, for each kind, an n × n block of weights between its items; a device sends it as a part of
an items × items matrix. Sums are linear, so secure aggregation and noise fit as they do for averaged updates. With
positions p and q in the history, oldest first, the kinds are

- ``together``: 1 / √n for each pair: the co-occurrences of EASE (Steck 2019), heavy users damped
- ``near``: exp(-|p - q| / 30) / √n: co-occurrences of items met at about the same time
- ``soon``, ``next``, ``later``: directed, from p to the items after it: 2^(-(d - 1) / h) at the distance d = q - p,
  with (h, farthest d) of (2, 5) and (5, 20); ``later`` is as ``next`` but begins at d = 2.

A device counts its latest `CAP` items only, and each block's Frobenius norm is clipped to `CLIP`: whatever a history
holds, no sum moves farther. Knows neither models nor the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from federation.evaluation.protocol import Integers

__all__ = ["CAP", "CLIP", "FLOOR", "KINDS", "Contribution", "Sums", "Vocabulary", "contribution", "counts"]

CAP = 500
CLIP = 50.0
FLOOR = 3
"""Items that fewer devices met stay out of all matrices."""

KINDS = ("together", "near", "soon", "next", "later")
_NEARNESS = 30.0
_DIRECTED = {"soon": (1, 5, 2.0), "next": (1, 20, 5.0), "later": (2, 20, 5.0)}

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Vocabulary:
    """The items that matrices are about: ``numbers`` (kept,) in order, of ``size`` items of the catalogue."""

    numbers: Integers
    size: int

    @classmethod
    def of(cls, totals: Integers, floor: int = FLOOR) -> Vocabulary:
        """The items of ``totals`` (items,) that at least ``floor`` devices met; ValueError where there are none."""
        numbers = np.flatnonzero(totals >= floor)
        if not len(numbers):
            raise ValueError(f"no item was met by {floor} devices")
        return cls(numbers, len(totals))

    def places(self, history: Integers) -> Integers:
        """The rows of those of ``history`` that are in it, in order."""
        where = np.full(self.size, -1, dtype=np.int64)
        where[self.numbers] = np.arange(len(self.numbers))
        found: Integers = where[history]
        return found[found >= 0]


@dataclass(frozen=True)
class Contribution:
    """Of one device: ``rows`` (n,) of the vocabulary, and for each of `KINDS` its block (n, n)."""

    rows: Integers
    blocks: Mapping[str, Matrix]


@dataclass
class Sums:
    """The sums over devices: a matrix (kept, kept) for each of `KINDS`; entry (p, q) leads from p to q."""

    width: int
    matrices: dict[str, Matrix] = field(init=False)
    devices: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.matrices = {kind: np.zeros((self.width, self.width)) for kind in KINDS}

    def add(self, one: Contribution) -> None:
        """Adds a device's; the order of devices does not matter."""
        where = np.ix_(one.rows, one.rows)
        for kind, block in one.blocks.items():
            self.matrices[kind][where] += block
        self.devices += 1


def counts(history: Integers, size: int) -> Integers:
    """What a device adds to the number of devices that met each item: 0 or 1 (items,), for its latest `CAP`."""
    met = np.zeros(size, dtype=np.int64)
    met[history[-CAP:]] = 1
    return met


def contribution(history: Integers, vocabulary: Vocabulary) -> Contribution:
    """The blocks of a ``history`` of distinct items, oldest first."""
    rows = vocabulary.places(history)[-CAP:]
    length = len(rows)
    distance = np.arange(length)[None, :] - np.arange(length)[:, None]
    damping = 1 / np.sqrt(max(length, 1))
    blocks = {
        "together": np.full((length, length), damping),
        "near": np.exp(-np.abs(distance) / _NEARNESS) * damping,
    }
    for kind, (nearest, farthest, half) in _DIRECTED.items():
        within = (distance >= nearest) & (distance <= farthest)
        blocks[kind] = np.where(within, 0.5 ** ((np.maximum(distance, 1) - 1) / half), 0.0)
    return Contribution(rows, {kind: _clipped(block) for kind, block in blocks.items()})


def _clipped(block: Matrix) -> Matrix:
    norm = float(np.linalg.norm(block))
    return block * (CLIP / norm) if norm > CLIP else block
