"""Weighted sums that do not depend on the order of what is added, to the bit, in memory that does not grow.

Numbers are added in fixed point, as secure aggregation adds them too: integers of 2^-32. With each contribution at most
`layout.LARGEST`, two million of them fit into 63 bits; rounding moves a mean by less than 2^-33.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from federation.aggregation.layout import LARGEST

UNIT = 2.0**-32
MOST = int(2**63 * UNIT / LARGEST) - 1
"""How many contributions fit."""


class ExactSum:
    """The sum of weight * tensors over contributions of the given ``shapes``."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._sums: dict[str, NDArray[np.int64]] = {name: np.zeros(shape, np.int64) for name, shape in shapes.items()}
        self.count, self.weight = 0, 0

    def add(self, tensors: Mapping[str, NDArray[np.floating]], weight: int) -> None:
        """Adds; OverflowError beyond `MOST`. The numbers have passed `layout.checked`."""
        if self.count >= MOST:
            raise OverflowError(f"a round adds up at most {MOST:,} updates")
        for name in self._sums:
            self._sums[name] += np.rint(tensors[name].astype(np.float64) * (weight / UNIT)).astype(np.int64)
        self.count, self.weight = self.count + 1, self.weight + weight

    def mean(self) -> dict[str, NDArray[np.float64]]:
        """The weighted mean; ValueError before anything was added."""
        if not self.count:
            raise ValueError("no device's update arrived: there is nothing to aggregate")
        return {name: total.astype(np.float64) * (UNIT / self.weight) for name, total in self._sums.items()}
