"""Which of some classes a text is of, by hand-written examples of each: what rules of words do not know.

Kernel ridge regression of one class against the others over the encoder's unit vectors, fitted as soon as it is asked:
a few hundred examples make a small system of equations. It knows nothing of what the classes mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

SHARPNESS = 4.0
"""How fast the weight of an example falls with its distance: exp(-`SHARPNESS` (1 - cosine))."""
RIDGE = 0.3


class Encoder(Protocol):
    """The text encoder of retrieval."""

    def encode(self, texts: Sequence[str]) -> Vectors: ...


class Examples:
    """The texts of ``bank`` by class, fitted once."""

    def __init__(self, bank: Mapping[str, Sequence[str]], encoder: Encoder) -> None:
        self._classes = tuple(bank)
        self._vectors = encoder.encode([text for texts in bank.values() for text in texts])
        sizes = np.array([len(texts) for texts in bank.values()])
        of = np.repeat(np.arange(len(sizes)), sizes)
        targets = np.where(of[:, None] == np.arange(len(sizes)), 1.0, -1.0)  # (examples, classes)
        # Each class counts as much as the others, however many examples it has.
        ridge = RIDGE * sizes[of] / sizes.mean()
        self._weights = np.linalg.solve(_kernel(self._vectors, self._vectors) + np.diag(ridge), targets)

    def scores(self, vector: Vectors) -> dict[str, float]:
        """How like each class ``vector`` (dim,) is: about 1 for its own, about -1 for others."""
        scores = _kernel(vector[None], self._vectors)[0] @ self._weights
        return dict(zip(self._classes, map(float, scores), strict=True))


def _kernel(one: Vectors, other: Vectors) -> NDArray[np.float64]:
    """The Gaussian kernel of unit vectors (n, dim) and (m, dim): (n, m)."""
    kernel: NDArray[np.float64] = np.exp(SHARPNESS * (one @ other.T - 1.0)).astype(np.float64)
    return kernel
