"""What every aggregation algorithm offers: which parts devices train, how updates are collected, what comes out.

An update is the change of the trained tensors, after minus before, as a device sends it. Knows neither Flower nor how
updates are protected on their way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from federation.tensors import Part, Tensors


@dataclass(frozen=True)
class Compatibility:
    """What an algorithm can be combined with; each False is refused with the reason in ``why``, by field name.

    ``streaming`` ones keep sums only: their memory does not grow with the number of devices.
    """

    secure_aggregation: bool = True
    noise: bool = True
    mixed_ranks: bool = False
    robust: bool = False
    streaming: bool = True
    why: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Aggregate:
    """The result of a round: the new ``tensors``, all of them, in float32.

    ``residual`` is ‖mean(BA) - B̄Ā‖ / ‖mean(BA)‖, Frobenius over all modules, 0 where the algorithm is exact.
    ``rejected`` are the senders whose updates an algorithm left out.
    """

    tensors: Tensors
    residual: float
    rejected: tuple[str, ...] = ()


class Collector(Protocol):
    """Takes the updates of one round, in any order: the result is the same to the bit."""

    def add(self, sender: str, update: Tensors, weight: int) -> None:
        """Takes one update; ``weight`` is at least 1.

        ValueError, naming the tensor, where ``update`` does not fit the round's tensors, is not finite or too large.
        """
        ...

    def finish(self) -> Aggregate:
        """ValueError when there were too few updates."""
        ...


class Aggregation(Protocol):
    """An algorithm, configured. It keeps no state between rounds."""

    @property
    def name(self) -> str:
        """As it is asked for."""
        ...

    @property
    def compatibility(self) -> Compatibility:
        """What it can be combined with."""
        ...

    def trained(self, number: int) -> frozenset[Part]:
        """The parts that devices train and send in round ``number``, counted from 1, as far as there are any."""
        ...

    def begin(self, current: Tensors, number: int) -> Collector:
        """A collector for round ``number``, which starts from ``current``."""
        ...
