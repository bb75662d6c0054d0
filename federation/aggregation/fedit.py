"""FedIT (Zhang et al. 2023, https://arxiv.org/abs/2305.05644): A and B are averaged apart. The field's baseline.

The product of the means is not the mean of the products: the residual says by how much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from federation.aggregation.averaging import MeanCollector, moved
from federation.aggregation.base import Aggregate, Compatibility
from federation.aggregation.layout import checked
from federation.aggregation.products import ProductMean, residual
from federation.tensors import Part, Tensors

_PARTS: frozenset[Part] = frozenset({"A", "B", "prompt"})


@dataclass(frozen=True)
class FedIt:
    """For comparison; FFA-LoRA and RoLoRA send half as much, and exactly."""

    name: ClassVar[str] = "fedit"
    compatibility: ClassVar[Compatibility] = Compatibility(
        why={
            "mixed_ranks": "factors of different ranks have no mean. Choose stack-svd for devices of several ranks",
            "robust": "a mean follows whoever sends the most. Choose norm-bounding, trimmed-mean, median or krum",
        }
    )

    def trained(self, number: int) -> frozenset[Part]:
        """See `Aggregation.trained`."""
        return _PARTS

    def begin(self, current: Tensors, number: int) -> FedItCollector:
        """See `Aggregation.begin`."""
        return FedItCollector(current, self.trained(number))


class FedItCollector(MeanCollector):
    """The mean of the factors, with the mean of the products beside it for the residual."""

    def __init__(self, current: Tensors, parts: frozenset[Part]) -> None:
        super().__init__(current, parts)
        self._products = ProductMean()

    def add(self, sender: str, update: Tensors, weight: int) -> None:
        """See `Collector.add`."""
        # Whatever is refused is refused before anything of it counts.
        arrays = checked(update, self._shapes, weight)
        self._products.add(moved(self._current, arrays), weight)
        super().add(sender, arrays, weight)

    def finish(self) -> Aggregate:
        """See `Collector.finish`."""
        tensors = super().finish().tensors
        return Aggregate(tensors, residual(self._products.mean(), tensors))
