"""What the evaluation ranks with: anything that scores items for a person. Knows nothing of where scores come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from federation.evaluation.protocol import Integers

__all__ = ["Matrix", "Scorer"]


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
