"""The median of each coordinate (Yin et al. 2018, https://arxiv.org/abs/1803.01498)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from federation.aggregation.base import Compatibility
from federation.aggregation.gathering import PARTS, ROBUST, Gathering
from federation.tensors import Part, Tensors


@dataclass(frozen=True)
class Median:
    """Holds while fewer than half of the devices lie."""

    name: ClassVar[str] = "median"
    compatibility: ClassVar[Compatibility] = ROBUST

    def trained(self, number: int) -> frozenset[Part]:
        """See `Aggregation.trained`."""
        return PARTS

    def begin(self, current: Tensors, number: int) -> MedianCollector:
        """See `Aggregation.begin`."""
        return MedianCollector(current)


class MedianCollector(Gathering):
    """See `Median`."""

    def choose(self, rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """See `Gathering.choose`."""
        return np.median(rows, axis=0), np.ones(len(rows), dtype=bool)
