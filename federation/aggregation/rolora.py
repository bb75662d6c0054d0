"""RoLoRA (Chen et al. 2024, https://arxiv.org/abs/2409.02346): rounds alternate between B and A, the other stays.

Each round is as exact as FFA-LoRA's, and A learns too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from federation.aggregation.averaging import MeanCollector
from federation.aggregation.base import Compatibility
from federation.tensors import Part, Tensors


@dataclass(frozen=True)
class RoLora:
    """B in odd rounds, A in even ones: B begins at 0, and A learns nothing before B has."""

    name: ClassVar[str] = "rolora"
    compatibility: ClassVar[Compatibility] = Compatibility(
        why={
            "mixed_ranks": "every device needs the factor that stays. Choose stack-svd for devices of several ranks",
            "robust": "a mean follows whoever sends the most. Choose norm-bounding, trimmed-mean, median or krum",
        }
    )

    def trained(self, number: int) -> frozenset[Part]:
        """See `Aggregation.trained`."""
        return frozenset({"B" if number % 2 else "A", "prompt"})

    def begin(self, current: Tensors, number: int) -> MeanCollector:
        """See `Aggregation.begin`."""
        return MeanCollector(current, self.trained(number))
