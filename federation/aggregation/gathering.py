"""What the robust algorithms share: they keep every update of a round, since they choose among them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from federation.aggregation.averaging import moved
from federation.aggregation.base import Aggregate, Compatibility
from federation.aggregation.layout import Arrays, checked, trained_names
from federation.aggregation.products import products, residual
from federation.tensors import Part, Tensors

PARTS: frozenset[Part] = frozenset({"B", "prompt"})
"""FFA-LoRA's: what is chosen among must mean the same on every device."""

ROBUST = Compatibility(
    secure_aggregation=False,
    noise=False,
    robust=True,
    streaming=False,
    why={
        "secure_aggregation": "it must see each update by itself. Choose ffa-lora with updates clipped on the devices",
        "noise": "one device may move it by more than a share of its bound. Choose norm-bounding, which is a mean",
        "mixed_ranks": "updates of different shapes cannot be compared. Choose stack-svd for devices of several ranks",
        "streaming": "it chooses among all updates of a round, and keeps them",
    },
)


class Gathering(ABC):
    """Keeps the updates of a round as rows, in the order of their senders' names."""

    fewest = 1

    def __init__(self, current: Tensors, parts: Iterable[Part] = PARTS) -> None:
        self._current = current
        self._shapes = {name: current[name].shape for name in trained_names(current, parts)}
        self._rows: dict[str, NDArray[np.float64]] = {}

    def add(self, sender: str, update: Tensors, weight: int) -> None:
        """See `Collector.add`. Weights count for nothing: whoever lies would lie about them."""
        if sender in self._rows:
            raise ValueError(f"an update of {sender!r} arrived before: its soft_prompt and lora factors count once")
        arrays = checked(update, self._shapes)
        self._rows[sender] = np.concatenate([arrays[name].ravel() for name in self._shapes]).astype(np.float64)

    def finish(self) -> Aggregate:
        """See `Collector.finish`."""
        if len(self._rows) < self.fewest:
            raise ValueError(f"{len(self._rows)} updates arrived, and this needs {self.fewest}: sample more devices")
        senders = sorted(self._rows)
        rows = np.stack([self._rows[sender] for sender in senders])
        chosen, kept = self.choose(rows)
        tensors = moved(self._current, self._shaped(chosen))
        mean = products(moved(self._current, self._shaped(rows.mean(axis=0))))
        rejected = tuple(sender for sender, is_kept in zip(senders, kept, strict=True) if not is_kept)
        return Aggregate(tensors, residual(mean, tensors) if mean else 0.0, rejected)

    @abstractmethod
    def choose(self, rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """What becomes of updates (devices, numbers): the change (numbers,), and which devices' were not left out."""

    def _shaped(self, flat: NDArray[np.float64]) -> Arrays:
        found, at = {}, 0
        for name, shape in self._shapes.items():
            size = int(np.prod(shape))
            found[name] = flat[at : at + size].reshape(shape).astype(np.float32)
            at += size
        return found
