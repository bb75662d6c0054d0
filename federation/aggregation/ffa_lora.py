"""FFA-LoRA (Sun et al. 2024, https://arxiv.org/abs/2403.12313): A stays as it was drawn, B is averaged.

With A the same everywhere, mean(B) A is mean(B A): averaging, masking and noise are exact on what they are done to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from federation.aggregation.averaging import MeanCollector
from federation.aggregation.base import Compatibility
from federation.tensors import Part, Tensors

_PARTS: frozenset[Part] = frozenset({"B", "prompt"})


@dataclass(frozen=True)
class FfaLora:
    """The default."""

    name: ClassVar[str] = "ffa-lora"
    compatibility: ClassVar[Compatibility] = Compatibility(
        why={
            "mixed_ranks": "every device needs the same A. Choose stack-svd for devices of several ranks",
            "robust": "a mean follows whoever sends the most. Choose norm-bounding, trimmed-mean, median or krum",
        }
    )

    def trained(self, number: int) -> frozenset[Part]:
        """See `Aggregation.trained`."""
        return _PARTS

    def begin(self, current: Tensors, number: int) -> MeanCollector:
        """See `Aggregation.begin`."""
        return MeanCollector(current, self.trained(number))
