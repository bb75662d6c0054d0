"""What a round asks of a device and what comes back. Knows neither Flower nor models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from federation.tensors import Part, Tensors


@dataclass(frozen=True)
class TrainConfig:
    """How a device trains in round ``number``, counted from 1.

    ``parts`` are trained and sent; ``scale`` is alpha / rank. At most ``steps`` optimiser steps of ``batch`` examples
    at ``learning_rate``, within ``seconds``. ``proximal`` is FedProx's mu (Li et al. 2020), 0 for none.
    """

    number: int
    seed: int
    parts: frozenset[Part]
    scale: float
    steps: int
    batch: int
    learning_rate: float
    proximal: float = 0.0
    seconds: float = 600.0


class Refused(ValueError):
    """A device does not train: why is for its owner, and does not leave it."""


@dataclass(frozen=True)
class TrainReply:
    """What a device sends: the change of the trained tensors of the cohort it chose, after minus before, in float32.

    ``metrics`` are of its validation event: ``loss`` (nats) and ``ndcg`` under the weights that came, ``base_loss`` and
    ``base_ndcg`` of the base model; and ``activity``, how many events it has, and ``seconds``, how long it took.
    """

    cohort: str
    update: Tensors
    examples: int
    metrics: Mapping[str, float]


class Trainer(Protocol):
    """Trains devices, one at a time; the base model is loaded once."""

    def train(self, device: str, cohorts: Mapping[str, Tensors], config: TrainConfig) -> TrainReply:
        """Picks the cohort of lowest validation loss among ``cohorts``, all with the same names, and trains it.

        Refused where the device's limits do not allow it, before or amid; ValueError where it has too few events, or
        the tensors do not fit the model.
        """
        ...
