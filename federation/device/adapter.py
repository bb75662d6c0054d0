"""One adapter in a base model: a LoRA that PEFT put there, a core between its factors or none, and a soft prompt.

Knows its weights by the names of `federation.tensors`, and nothing of prompts, examples or training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from federation.tensors import SOFT_PROMPT, Tensors, part

__all__ = ["SPREAD", "Adapter", "Arrays"]

Arrays = dict[str, NDArray[np.float32]]
_CORE = ".lora_core.weight"
SPREAD = 0.02
"""Standard deviation of what a new soft prompt is drawn from, added to embeddings of tokens."""


class Adapter:
    """The LoRA that the model ``peft`` has under ``name``, with a soft prompt of ``tokens`` tokens.

    With ``core``, an r x r matrix between A and B is trained in their place (Fed-SB). Nothing asks for gradients.
    """

    def __init__(self, peft: Any, name: str, tokens: int, *, core: bool = False) -> None:
        self.name = name
        self._embeddings: Tensor = peft.get_input_embeddings().weight
        self.soft_prompt = nn.Parameter(torch.zeros(tokens, self._embeddings.shape[1]), requires_grad=False)
        self._factors = dict(_factors(peft, name, core=core))

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The LoRA's parameters, and the soft prompt where it has tokens."""
        return {**self._factors, **({SOFT_PROMPT: self.soft_prompt} if len(self.soft_prompt) else {})}

    def initial(self, seed: int) -> Arrays:
        """Where training begins: A is drawn as PEFT draws it and B is 0, so nothing has changed yet.

        With a core, A and B are drawn orthonormal and the core is 0. The soft prompt is of embeddings of tokens drawn.
        """
        draw = np.random.default_rng(seed)
        found: Arrays = {}
        cored = any(name.endswith(_CORE) for name in self._factors)
        for name, parameter in sorted(self._factors.items()):
            shape = tuple(parameter.shape)
            kind = part(name)
            if kind == "core" or (kind == "B" and not cored):
                found[name] = np.zeros(shape, np.float32)
            elif cored:
                found[name] = _orthonormal(draw, shape)
            else:
                # Kaiming uniform with a = sqrt(5), as in PEFT: bound 1 / sqrt(in).
                found[name] = draw.uniform(-(shape[1] ** -0.5), shape[1] ** -0.5, shape).astype(np.float32)
        if len(self.soft_prompt):
            rows = self._embeddings[torch.from_numpy(draw.integers(len(self._embeddings), size=len(self.soft_prompt)))]
            found[SOFT_PROMPT] = (rows.numpy() + draw.normal(0, SPREAD, rows.shape)).astype(np.float32)
        return found

    def put(self, tensors: Tensors) -> None:
        """Takes copies of ``tensors`` as weights; ValueError, naming the tensor, where they do not fit."""
        named = self.parameters
        if wrong := sorted(named.keys() ^ tensors.keys()):
            raise ValueError(f"{wrong[0]!r} is {'not asked for' if wrong[0] in tensors else 'missing'}")
        with torch.no_grad():
            for name, parameter in named.items():
                if tensors[name].shape != tuple(parameter.shape):
                    raise ValueError(f"{name!r} has the shape {tensors[name].shape}, not {tuple(parameter.shape)}")
                parameter.copy_(torch.tensor(tensors[name], dtype=torch.float32))

    def taken(self) -> Arrays:
        """Copies of the weights as they are, float32."""
        return {name: parameter.detach().numpy().copy() for name, parameter in self.parameters.items()}


class _Core(nn.Module):
    """B with an r x r core behind it: what PEFT multiplies A with."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.core = nn.Parameter(torch.zeros(rank, rank), requires_grad=False)

    def forward(self, weight: Tensor) -> Tensor:
        return weight @ self.core


def _factors(peft: Any, adapter: str, *, core: bool) -> Iterator[tuple[str, nn.Parameter]]:
    """The LoRA's parameters by PEFT's names, none of which asks for gradients."""
    for module_name, module in list(peft.named_modules()):
        if not hasattr(module, "lora_A") or adapter not in module.lora_A:
            continue
        a, b = module.lora_A[adapter].weight, module.lora_B[adapter].weight
        yield f"{module_name}.lora_A.weight", a.requires_grad_(False)
        yield f"{module_name}.lora_B.weight", b.requires_grad_(False)
        if core:
            between = _Core(a.shape[0])
            parametrize.register_parametrization(module.lora_B[adapter], "weight", between)
            yield f"{module_name}{_CORE}", between.core


def _orthonormal(draw: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A matrix of orthonormal rows or columns, whichever are fewer."""
    tall = draw.normal(size=(max(shape), min(shape)))
    q, _ = np.linalg.qr(tall)
    return np.ascontiguousarray(q if shape[0] >= shape[1] else q.T, dtype=np.float32)
