"""Federated soft prompts (Lester et al. 2021 on devices): only the soft prompt is trained, and averaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from federation.aggregation.averaging import MeanCollector
from federation.aggregation.base import Compatibility
from federation.tensors import Part, Tensors


@dataclass(frozen=True)
class SoftPrompt:
    """The least to send: tokens times hidden numbers."""

    name: ClassVar[str] = "soft-prompt"
    compatibility: ClassVar[Compatibility] = Compatibility(
        mixed_ranks=True,
        why={"robust": "a mean follows whoever sends the most. Choose norm-bounding, trimmed-mean, median or krum"},
    )

    def trained(self, number: int) -> frozenset[Part]:
        """See `Aggregation.trained`."""
        return frozenset({"prompt"})

    def begin(self, current: Tensors, number: int) -> MeanCollector:
        """See `Aggregation.begin`."""
        return MeanCollector(current, self.trained(number))
