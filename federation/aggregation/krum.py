"""Krum and Multi-Krum (Blanchard et al. 2017, https://arxiv.org/abs/1703.02757): the updates with near neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from federation.aggregation.base import Compatibility
from federation.aggregation.gathering import PARTS, ROBUST, Gathering
from federation.aggregation.options import check_count
from federation.tensors import Part, Tensors


@dataclass(frozen=True)
class Krum:
    """Keeps ``keep`` updates of a round, at most ``liars`` of whose devices lie: 1 is Krum, more Multi-Krum."""

    liars: int = 1
    keep: int = 1
    name: ClassVar[str] = "krum"
    compatibility: ClassVar[Compatibility] = ROBUST

    def __post_init__(self) -> None:
        check_count("liars", self.liars, least=0)
        check_count("keep", self.keep, least=1)

    @property
    def fewest(self) -> int:
        """How many updates a round needs: 2 f + 3 where f lie, as Krum's proof does, and as many as are kept."""
        return max(2 * self.liars + 3, self.keep)

    def trained(self, number: int) -> frozenset[Part]:
        """See `Aggregation.trained`."""
        return PARTS

    def begin(self, current: Tensors, number: int) -> KrumCollector:
        """See `Aggregation.begin`."""
        return KrumCollector(current, self)


class KrumCollector(Gathering):
    """See `Krum`."""

    def __init__(self, current: Tensors, krum: Krum) -> None:
        super().__init__(current)
        self._liars, self._keep = krum.liars, krum.keep
        self.fewest = krum.fewest

    def choose(self, rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """See `Gathering.choose`."""
        best = np.argsort(scores(rows, self._liars), kind="stable")[: self._keep]
        kept = np.isin(np.arange(len(rows)), best)
        return rows[kept].mean(axis=0), kept


def scores(rows: NDArray[np.float64], liars: int) -> NDArray[np.float64]:
    """Each update's sum of squared distances to its n - f - 2 nearest others, float64 (devices,)."""
    squared = np.sort(squareform(pdist(rows, "sqeuclidean")), axis=1)
    # The first is an update's distance to itself.
    found: NDArray[np.float64] = squared[:, 1 : len(rows) - liars - 1].sum(axis=1)
    return found
