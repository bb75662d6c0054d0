"""Fed-SB (Singhal et al. 2025, https://arxiv.org/abs/2502.15436): an r x r core between frozen B and A is averaged.

mean(B R A) is B mean(R) A: exact, and the payload does not grow with the model's width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from federation.aggregation.averaging import MeanCollector
from federation.aggregation.base import Compatibility
from federation.tensors import Part, Tensors, part


@dataclass(frozen=True)
class FedSb:
    """For large models and thin lines. The frozen factors decide what can be learned."""

    name: ClassVar[str] = "fed-sb"
    compatibility: ClassVar[Compatibility] = Compatibility(
        why={
            "mixed_ranks": "every device needs the same A and B. Choose stack-svd for devices of several ranks",
            "robust": "a mean follows whoever sends the most. Choose norm-bounding, trimmed-mean, median or krum",
        }
    )

    def trained(self, number: int) -> frozenset[Part]:
        """See `Aggregation.trained`."""
        return frozenset({"core", "prompt"})

    def begin(self, current: Tensors, number: int) -> MeanCollector:
        """See `Aggregation.begin`. ValueError where ``current`` has no cores."""
        if not any(part(name) == "core" for name in current):
            raise ValueError(
                "fed-sb trains r x r cores between the factors, and these weights have none: begin with a trainer that "
                "makes them, or choose ffa-lora"
            )
        return MeanCollector(current, self.trained(number))
