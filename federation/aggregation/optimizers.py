"""Server optimizers: what is done with the aggregate of a round (Reddi et al. 2021, https://arxiv.org/abs/2003.00295).

The change from the current weights to the aggregate stands for a gradient. State is a flat mapping of arrays, so that
a checkpoint can hold it; an empty one begins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from federation.aggregation.layout import Arrays
from federation.aggregation.options import check_number
from federation.tensors import Tensors

State = Mapping[str, NDArray[np.float64]]


class ServerOptimizer(Protocol):
    """Takes the weights from round to round."""

    def step(self, state: State, current: Tensors, target: Tensors) -> tuple[Arrays, dict[str, NDArray[np.float64]]]:
        """The new weights, float32, and the new state."""
        ...


@dataclass(frozen=True)
class FedAvg:
    """x + η Δ; with ``learning_rate`` 1 the aggregate itself (McMahan et al. 2017)."""

    learning_rate: float = 1.0

    def __post_init__(self) -> None:
        check_number("learning_rate", self.learning_rate, above=0.0, below=math.inf)

    def step(self, state: State, current: Tensors, target: Tensors) -> tuple[Arrays, dict[str, NDArray[np.float64]]]:
        """See `ServerOptimizer.step`."""
        if self.learning_rate == 1.0:
            return dict(target), {}
        rate = np.float32(self.learning_rate)
        return {name: array + rate * (target[name] - array) for name, array in current.items()}, {}


@dataclass(frozen=True)
class FedAdam:
    """m = β₁ m + (1-β₁) Δ, v = β₂ v + (1-β₂) Δ², x + η m / (√v + τ), without bias correction as in the paper."""

    learning_rate: float = 0.01
    beta_1: float = 0.9
    beta_2: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("learning_rate", "tau"):
            check_number(name, getattr(self, name), above=0.0, below=math.inf)
        for name in ("beta_1", "beta_2"):
            check_number(name, getattr(self, name), least=0.0, below=1.0)

    def step(self, state: State, current: Tensors, target: Tensors) -> tuple[Arrays, dict[str, NDArray[np.float64]]]:
        """See `ServerOptimizer.step`."""
        new: Arrays = {}
        kept: dict[str, NDArray[np.float64]] = {}
        for name, array in current.items():
            change = target[name].astype(np.float64) - array
            if not change.any():
                # It rests in this round, and momentum must not move it.
                new[name] = array
                kept |= {key: state[key] for key in (f"m.{name}", f"v.{name}") if key in state}
                continue
            nothing = np.zeros_like(change)
            m = self.beta_1 * state.get(f"m.{name}", nothing) + (1.0 - self.beta_1) * change
            v = self.beta_2 * state.get(f"v.{name}", nothing) + (1.0 - self.beta_2) * change**2
            new[name] = (array + self.learning_rate * m / (np.sqrt(v) + self.tau)).astype(np.float32)
            kept[f"m.{name}"], kept[f"v.{name}"] = m, v
        return new, kept


OPTIMIZERS: dict[str, type[FedAvg | FedAdam]] = {"fedavg": FedAvg, "fedadam": FedAdam}


def create(name: str, **options: Any) -> ServerOptimizer:
    """The optimizer ``name``; ValueError for another name, option or value."""
    made = OPTIMIZERS.get(name)
    if made is None:
        raise ValueError(f"there is no server optimizer {name!r}: choose {' or '.join(OPTIMIZERS)}")
    known = {field.name for field in fields(made)}
    if unknown := sorted(options.keys() - known):
        raise ValueError(f"{name} has no option {unknown[0]!r}: it takes {', '.join(sorted(known))}")
    return made(**options)
