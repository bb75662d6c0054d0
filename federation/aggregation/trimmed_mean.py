"""The mean of each coordinate without its extremes (Yin et al. 2018, https://arxiv.org/abs/1803.01498)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

from federation.aggregation.base import Compatibility
from federation.aggregation.gathering import PARTS, ROBUST, Gathering
from federation.aggregation.options import check_number
from federation.tensors import Part, Tensors


@dataclass(frozen=True)
class TrimmedMean:
    """``share`` of the devices, rounded down, is cut at either end of each coordinate: so many may lie."""

    share: float = 0.1
    name: ClassVar[str] = "trimmed-mean"
    compatibility: ClassVar[Compatibility] = ROBUST

    def __post_init__(self) -> None:
        check_number("share", self.share, least=0.0, below=0.5)

    def trained(self, number: int) -> frozenset[Part]:
        """See `Aggregation.trained`."""
        return PARTS

    def begin(self, current: Tensors, number: int) -> TrimmedMeanCollector:
        """See `Aggregation.begin`."""
        return TrimmedMeanCollector(current, self.share)


class TrimmedMeanCollector(Gathering):
    """See `TrimmedMean`."""

    def __init__(self, current: Tensors, share: float) -> None:
        super().__init__(current)
        self._share = share

    def choose(self, rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """See `Gathering.choose`."""
        return trim_mean(rows, self._share, axis=0), np.ones(len(rows), dtype=bool)
