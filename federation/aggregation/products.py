"""The change of the model's own weights that LoRA factors stand for, and how far an aggregate is from its mean."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from federation.aggregation.layout import LARGEST
from federation.aggregation.sums import ExactSum
from federation.tensors import Tensors, pairs, part

Products = dict[str, NDArray[np.float64]]


def products(tensors: Tensors) -> Products:
    """B A of every module of ``tensors``, float64 (out, in)."""
    names = [name for name in tensors if part(name) in {"A", "B"}]
    return {one.module: tensors[one.b].astype(np.float64) @ tensors[one.a].astype(np.float64) for one in pairs(names)}


class ProductMean:
    """The weighted mean of products, in any order: one array (out, in) for each module, however many are added."""

    def __init__(self) -> None:
        self._sum: ExactSum | None = None

    def add(self, tensors: Tensors, weight: int) -> None:
        """Adds the products of ``tensors``. ValueError, naming the module, where one is too large to be added."""
        found = products(tensors)
        for module, product in found.items():
            if product.size and np.abs(product).max() * weight > LARGEST:
                raise ValueError(f"the product of {module!r} holds numbers above {LARGEST:g} in all")
        if self._sum is None:
            self._sum = ExactSum({module: product.shape for module, product in found.items()})
        self._sum.add(found, weight)

    def mean(self) -> Products:
        """The mean of all that was added; ValueError before anything was."""
        if self._sum is None:
            raise ValueError("no device's update arrived: there is nothing to aggregate")
        return self._sum.mean()


def residual(mean: Mapping[str, NDArray[np.float64]], aggregate: Tensors) -> float:
    """‖mean(BA) - B̄Ā‖ / ‖mean(BA)‖, Frobenius over all modules; 0 where both are 0."""
    found = products(aggregate)
    apart = math.sqrt(sum(float(((mean[module] - found[module]) ** 2).sum()) for module in mean))
    whole = math.sqrt(sum(float((product**2).sum()) for product in mean.values()))
    return apart / whole if whole else apart
