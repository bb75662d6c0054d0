"""What the evaluation ranks with: anything that scores items for a person. Knows nothing of where scores come from.

A language model's scores join here: wrap what scores a person's candidates as a `Scorer`, and fuse it with another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from federation.evaluation.metrics import sampled_ranks, summed_up
from federation.evaluation.protocol import Integers, Task

__all__ = ["Fusion", "Matrix", "Scorer", "choose_fusion"]

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


class Scorer(Protocol):
    """Scores items for a person; higher is better. Only the order within one call counts."""

    def scores(self, person: int, candidates: Integers) -> NDArray[np.float32]:
        """A finite score for each of ``candidates``."""
        ...


@dataclass(frozen=True)
class Matrix:
    """Scores worked out before, float32 (people, items)."""

    values: NDArray[np.float32]

    def scores(self, person: int, candidates: Integers) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.values[person, candidates]
        return found


@dataclass(frozen=True)
class Fusion:
    """(1 - ``weight``) of ``first`` and ``weight`` of ``second``, each at mean 0 and deviation 1 over candidates."""

    first: Scorer
    second: Scorer
    weight: float

    def scores(self, person: int, candidates: Integers) -> NDArray[np.float32]:
        first, second = (_standard(one.scores(person, candidates)) for one in (self.first, self.second))
        return (1 - self.weight) * first + self.weight * second


def choose_fusion(task: Task, first: Scorer, second: Scorer, seed: int, weights: Sequence[float] = WEIGHTS) -> Fusion:
    """The fusion of the ``weights`` that ranks validation items best by NDCG@10 among 99 negatives; first of equals."""
    negatives = task.negatives(seed)
    fusions = [Fusion(first, second, weight) for weight in weights]
    return max(fusions, key=lambda one: summed_up(sampled_ranks(task, one, negatives, "validation")).ndcg)


def _standard(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    spread = scores.std()
    centred = scores - scores.mean()
    return centred / spread if spread > 0 else np.zeros_like(scores)
