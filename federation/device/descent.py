"""Descends a loss with AdamW, step by step, so that it can stop after any step and go on from there to the same bits.

Knows neither models nor prompts: what it trains, on what, and the loss are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from federation.device.adapter import Arrays
from federation.tensors import Tensors

__all__ = ["Descent", "Pace"]

_PARAMETER = "parameter"
_MOMENTS = ("exp_avg", "exp_avg_sq")
Batch = TypeVar("Batch")


class Pace(Protocol):
    """How to descend: AdamW's ``learning_rate``, and FedProx's mu as ``proximal``."""

    @property
    def learning_rate(self) -> float: ...

    @property
    def proximal(self) -> float: ...


class Descent(Generic[Batch]):
    """Trains ``parameters`` on ``batches``, of which there is always a next: the same to the bit for the same ones.

    With a ``proximal`` mu, mu / 2 ‖w - w₀‖² is added to the ``loss``, w₀ being the parameters' values now.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        batches: Iterator[Batch],
        loss: Callable[[Batch], Tensor],
        pace: Pace,
    ) -> None:
        self._parameters, self._batches, self._loss = dict(parameters), batches, loss
        self._proximal = pace.proximal
        self._start = {name: one.detach().clone() for name, one in parameters.items()}
        # No decay: zero is no good place for a soft prompt, and the proximal term holds weights where they were.
        self._optimizer = torch.optim.AdamW(self._parameters.values(), lr=pace.learning_rate, weight_decay=0.0)
        self.steps = 0
        """Steps taken so far."""

    def step(self) -> None:
        """Takes one step; the parameters ask for gradients only meanwhile."""
        for one in self._parameters.values():
            one.requires_grad_(True)
        try:
            loss = self._loss(next(self._batches))
            for name, one in self._parameters.items():
                loss = loss + self._proximal / 2 * ((one - self._start[name]) ** 2).sum()
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            self.steps += 1
        finally:
            for one in self._parameters.values():
                one.requires_grad_(False)
                one.grad = None

    def state(self) -> Arrays:
        """What `restore` needs besides `steps`: the parameters and, once there was a step, AdamW's moments."""
        tensors = {f"{_PARAMETER}.{name}": one.detach().numpy().copy() for name, one in self._parameters.items()}
        for name, one in self._parameters.items():
            if self.steps:
                for moment in _MOMENTS:
                    tensors[f"{moment}.{name}"] = self._optimizer.state[one][moment].numpy().copy()
        return tensors

    def restore(self, tensors: Tensors, steps: int) -> None:
        """Goes on as after ``steps`` steps, from what `state` gave where all that was given here was the same."""
        for _ in range(steps):
            next(self._batches)
        self.steps = steps
        for name, one in self._parameters.items():
            with torch.no_grad():
                one.copy_(torch.tensor(tensors[f"{_PARAMETER}.{name}"]))
            if steps:
                moments = {moment: torch.tensor(tensors[f"{moment}.{name}"]) for moment in _MOMENTS}
                self._optimizer.state[one] = {"step": torch.tensor(float(steps)), **moments}
