"""Norm bounding (Sun et al. 2019, https://arxiv.org/abs/1911.07963): FFA-LoRA over updates of bounded norm.

One device moves the mean by at most bound / devices. The server does the bounding, and so must see each update by
itself: a device that lies would not bound its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from federation.aggregation.averaging import MeanCollector
from federation.aggregation.base import Compatibility
from federation.aggregation.layout import Arrays
from federation.aggregation.options import check_number
from federation.tensors import Part, Tensors

_PARTS: frozenset[Part] = frozenset({"B", "prompt"})


@dataclass(frozen=True)
class NormBounding:
    """``norm`` is the L2 norm, over all of an update's tensors together, that it is scaled down to."""

    norm: float = 1.0
    name: ClassVar[str] = "norm-bounding"
    compatibility: ClassVar[Compatibility] = Compatibility(
        secure_aggregation=False,
        robust=True,
        why={
            "secure_aggregation": "the server cannot see the norm of a masked update, and whoever lies does not bound "
            "its own. Choose ffa-lora with updates clipped on the devices, which holds honest ones to the bound",
            "mixed_ranks": "every device needs the same A. Choose stack-svd for devices of several ranks",
        },
    )

    def __post_init__(self) -> None:
        check_number("norm", self.norm, above=0.0, below=math.inf)

    def trained(self, number: int) -> frozenset[Part]:
        """See `Aggregation.trained`."""
        return _PARTS

    def begin(self, current: Tensors, number: int) -> BoundedCollector:
        """See `Aggregation.begin`."""
        return BoundedCollector(current, self.trained(number), self.norm)


class BoundedCollector(MeanCollector):
    """See `NormBounding`. Weights count for nothing: they would loosen the bound."""

    def __init__(self, current: Tensors, parts: frozenset[Part], norm: float) -> None:
        super().__init__(current, parts)
        self._norm = norm

    def add(self, sender: str, update: Tensors, weight: int) -> None:
        """See `Collector.add`."""
        super().add(sender, update, 1)

    def _prepared(self, update: Arrays) -> Arrays:
        return clipped(update, self._norm)


def clipped(update: Arrays, norm: float) -> Arrays:
    """``update`` scaled so that its L2 norm over all tensors is at most ``norm``."""
    found = norm_of(update)
    return update if found <= norm else {name: array * np.float32(norm / found) for name, array in update.items()}


def norm_of(update: Tensors) -> float:
    """The L2 norm over all tensors together."""
    return math.sqrt(sum(float((array.astype(np.float64) ** 2).sum()) for array in update.values()))
