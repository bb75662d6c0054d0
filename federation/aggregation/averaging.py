"""The weighted mean of updates, which the linear algorithms share. It is exact where one factor of each pair stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from federation.aggregation.base import Aggregate
from federation.aggregation.layout import Arrays, checked, trained_names
from federation.aggregation.sums import ExactSum
from federation.tensors import Part, Tensors


class MeanCollector:
    """Adds the weighted mean of the updates of ``parts`` to ``current``."""

    def __init__(self, current: Tensors, parts: Iterable[Part]) -> None:
        self._current = current
        self._shapes = {name: current[name].shape for name in trained_names(current, parts)}
        self._sum = ExactSum(self._shapes)

    def add(self, sender: str, update: Tensors, weight: int) -> None:
        """See `Collector.add`."""
        self._sum.add(self._prepared(checked(update, self._shapes, weight)), weight)

    def finish(self) -> Aggregate:
        """See `Collector.finish`."""
        return Aggregate(moved(self._current, self._sum.mean()), 0.0)

    def _prepared(self, update: Arrays) -> Arrays:
        return update


def moved(current: Tensors, change: Mapping[str, NDArray[np.floating]]) -> Arrays:
    """All of ``current``, float32, with ``change`` added where there is one."""
    return {
        name: (array + change[name]).astype(np.float32) if name in change else array for name, array in current.items()
    }
