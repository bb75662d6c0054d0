"""Stack, then SVD: the mean of the products is formed and cut back to the rank, for devices of several ranks.

Stacking all factors is the mean of the products (FLoRA, Wang et al. 2024, https://arxiv.org/abs/2409.05976); its SVD
gives factors of any rank (FlexLoRA, Bai et al. 2024, https://arxiv.org/abs/2402.11505), of which a device of a lower
rank takes the first. The aggregator must see every device's factors: it is trusted with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from federation.aggregation.averaging import moved
from federation.aggregation.base import Aggregate, Compatibility
from federation.aggregation.layout import Arrays, checked, finite, trained_names
from federation.aggregation.products import ProductMean, residual
from federation.aggregation.sums import ExactSum
from federation.tensors import SOFT_PROMPT, Pair, Part, Tensors, pairs

_PARTS: frozenset[Part] = frozenset({"A", "B", "prompt"})


@dataclass(frozen=True)
class StackSvd:
    """Exact up to the cut, which the residual reports."""

    name: ClassVar[str] = "stack-svd"
    compatibility: ClassVar[Compatibility] = Compatibility(
        secure_aggregation=False,
        noise=False,
        mixed_ranks=True,
        why={
            "secure_aggregation": "a product of masked factors means nothing. Choose ffa-lora, which is linear",
            "noise": "noise on both factors multiplies. Choose ffa-lora, where it stays what it was",
            "robust": "a mean follows whoever sends the most. Choose norm-bounding, trimmed-mean, median or krum",
        },
    )

    def trained(self, number: int) -> frozenset[Part]:
        """See `Aggregation.trained`."""
        return _PARTS

    def begin(self, current: Tensors, number: int) -> StackSvdCollector:
        """See `Aggregation.begin`."""
        return StackSvdCollector(current)


class StackSvdCollector:
    """Updates of rank r' up to the round's: the change of the first r' rows of A and columns of B."""

    def __init__(self, current: Tensors) -> None:
        self._current = current
        self._pairs = list(pairs(name for name in trained_names(current, {"A", "B"})))
        self._mean = ProductMean()
        self._prompt = ExactSum({name: current[name].shape for name in (SOFT_PROMPT,) if name in current})

    def add(self, sender: str, update: Tensors, weight: int) -> None:
        """See `Collector.add`."""
        whole = self._whole({name: array for name, array in update.items() if name != SOFT_PROMPT}, weight)
        prompt = {name: array for name, array in update.items() if name == SOFT_PROMPT}
        shapes = {name: self._current[name].shape for name in (SOFT_PROMPT,) if name in self._current}
        # Whatever is refused is refused before anything of it counts.
        arrays = checked(prompt, shapes, weight)
        self._mean.add(whole, weight)
        self._prompt.add(arrays, weight)

    def finish(self) -> Aggregate:
        """See `Collector.finish`."""
        prompt = self._prompt.mean()
        mean = self._mean.mean()
        tensors = moved(self._current, prompt)
        for pair in self._pairs:
            tensors[pair.a], tensors[pair.b] = factors(mean[pair.module], len(self._current[pair.a]))
        return Aggregate(tensors, residual(mean, tensors))

    def _whole(self, update: Tensors, weight: int) -> Arrays:
        """The device's factors, after training, at its own rank."""
        known = {name for pair in self._pairs for name in (pair.a, pair.b)}
        if wrong := sorted(update.keys() ^ known):
            trouble = "is not trained in this round" if wrong[0] in update else "is missing"
            raise ValueError(f"{wrong[0]!r} {trouble}")
        return {name: array for pair in self._pairs for name, array in self._pair(pair, update, weight)}

    def _pair(self, pair: Pair, update: Tensors, weight: int) -> list[tuple[str, NDArray[np.float32]]]:
        a, b = self._current[pair.a], self._current[pair.b]
        change_a, change_b = np.asarray(update[pair.a]), np.asarray(update[pair.b])
        rank = change_a.shape[0] if change_a.ndim == 2 else 0
        if not 0 < rank <= len(a) or change_a.shape != a[:rank].shape or change_b.shape != b[:, :rank].shape:
            raise ValueError(f"{pair.a!r} and {pair.b!r} have the shapes {change_a.shape} and {change_b.shape}")
        return [
            (pair.a, a[:rank] + finite(pair.a, change_a, weight)),
            (pair.b, b[:, :rank] + finite(pair.b, change_b, weight)),
        ]


def factors(product: NDArray[np.float64], rank: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A (rank, in) and B (out, rank) whose product is the best of this rank (Eckart & Young 1936), largest first.

    A is orthonormal and B holds the singular values, so that a rank of value 0 can still learn. Signs are fixed, so
    that the same product gives the same factors.
    """
    left, values, right = np.linalg.svd(product, full_matrices=False)
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    kept = min(rank, len(values))
    a = np.zeros((rank, product.shape[1]), np.float32)
    b = np.zeros((product.shape[0], rank), np.float32)
    a[:kept] = signs[:kept, None] * right[:kept]
    b[:, :kept] = left[:, :kept] * (signs[:kept] * values[:kept])
    return a, b
