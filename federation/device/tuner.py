"""Tunes a LoRA on q and v and a soft prompt with PEFT, on a device's own choices. Knows neither stores nor Flower.

The base model is loaded once and never changes. Everything drawn comes from a seed; a step is bounded by the clock
only between steps, so that what was done is whole.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from federation.device.examples import Example
from federation.lora import LoraShape
from federation.rounds.trainer import TrainConfig
from federation.tensors import SOFT_PROMPT, Tensors, part
from prompts.build import RANK_LABELS, label_ids

Arrays = dict[str, NDArray[np.float32]]
_ADAPTER = "default"
_CORE = ".lora_core.weight"
SPREAD = 0.02
"""Standard deviation of what a new soft prompt is drawn from, added to embeddings of tokens."""


class Tuner:
    """A base model with one LoRA and one soft prompt of ``tokens`` tokens, which `put` fills and `train` changes.

    With ``core``, an r x r matrix between A and B is trained in their place (Fed-SB). ValueError where the model's
    folder holds no model with the LoRA's modules.
    """

    def __init__(self, folder: Path, lora: LoraShape, tokens: int = 0, *, core: bool = False) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).requires_grad_(False)
        config = LoraConfig(
            r=lora.rank, lora_alpha=cast("int", lora.alpha), target_modules=list(lora.targets), lora_dropout=0.0
        )
        self._peft: Any = get_peft_model(base, config)
        self._peft.eval()
        self._embeddings: Tensor = base.get_input_embeddings().weight
        labels = torch.tensor(label_ids(self.tokenizer, len(RANK_LABELS)))
        self._heads: Tensor = base.get_output_embeddings().weight[labels]
        self.soft_prompt = nn.Parameter(torch.zeros(tokens, self._embeddings.shape[1]))
        self._factors = dict(_factors(self._peft, core=core))

    def initial(self, seed: int) -> Arrays:
        """Where a run begins: A is drawn as PEFT draws it and B is 0, so nothing has changed yet.

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
        """Takes ``tensors`` as weights; ValueError, naming the tensor, where they do not fit."""
        named = self._parameters()
        if wrong := sorted(named.keys() ^ tensors.keys()):
            raise ValueError(f"{wrong[0]!r} is {'not asked for' if wrong[0] in tensors else 'missing'}")
        with torch.no_grad():
            for name, parameter in named.items():
                if tensors[name].shape != tuple(parameter.shape):
                    raise ValueError(f"{name!r} has the shape {tensors[name].shape}, not {tuple(parameter.shape)}")
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(tensors[name], np.float32)))

    def taken(self) -> Arrays:
        """The weights as they are, float32, by PEFT's names."""
        return {name: parameter.detach().numpy().copy() for name, parameter in self._parameters().items()}

    def train(self, examples: Sequence[Example], config: TrainConfig, seed: Sequence[int]) -> int:
        """Trains the weights in place on batches drawn from ``examples``; returns how many steps were taken.

        AdamW on the cross-entropy of the chosen label among the candidates', with FedProx's mu / 2 ‖w - w₀‖².
        """
        trained = {name: one for name, one in self._parameters().items() if part(name) in config.parts}
        start = {name: one.detach().clone() for name, one in trained.items()}
        for one in trained.values():
            one.requires_grad_(True)
        optimizer = torch.optim.AdamW(trained.values(), lr=config.learning_rate, weight_decay=0.0)
        draw = np.random.default_rng(list(seed))
        began, steps = time.monotonic(), 0
        try:
            while steps < config.steps and time.monotonic() - began < config.seconds:
                chosen = draw.choice(len(examples), min(config.batch, len(examples)), replace=False)
                loss = self._losses([examples[at] for at in chosen]).mean()
                for name, one in trained.items():
                    loss = loss + config.proximal / 2 * ((one - start[name]) ** 2).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                steps += 1
        finally:
            for one in trained.values():
                one.requires_grad_(False)
                one.grad = None
        return steps

    def log_probabilities(self, example: Example, *, bare: bool = False) -> NDArray[np.float64]:
        """Of each candidate being chosen, float64 (candidates,); ``bare``: by the base model alone."""
        with torch.no_grad():
            if bare:
                with self._bare():
                    logits = self._logits([example], bare=True)
            else:
                logits = self._logits([example])
        scores = logits[0, : len(example.candidates)].double()
        return cast("NDArray[np.float64]", torch.log_softmax(scores, dim=0).numpy())

    def _losses(self, examples: Sequence[Example]) -> Tensor:
        logits = self._logits(examples)
        targets = torch.tensor([example.chosen for example in examples])
        return nn.functional.cross_entropy(logits, targets, reduction="none")

    def _logits(self, examples: Sequence[Example], *, bare: bool = False) -> Tensor:
        """Each candidate label's logit behind the prompt, (examples, most candidates); -inf where there is none."""
        soft = self.soft_prompt[:0] if bare else self.soft_prompt
        rows = [torch.cat([soft, self._embeddings[torch.tensor(one.prompt(self.tokenizer))]]) for one in examples]
        longest = max(len(row) for row in rows)
        # Padded in front, so that every prompt ends at the last place.
        embedded = torch.stack([nn.functional.pad(row, (0, 0, longest - len(row), 0)) for row in rows])
        mask = torch.stack([torch.arange(longest) >= longest - len(row) for row in rows])
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        output = self._peft.base_model.model.model(
            inputs_embeds=embedded, attention_mask=mask.long(), position_ids=positions, use_cache=False
        )
        most = max(len(one.candidates) for one in examples)
        logits = output.last_hidden_state[:, -1] @ self._heads[:most].T
        counts = torch.tensor([len(one.candidates) for one in examples])
        return cast("Tensor", logits.masked_fill(torch.arange(most) >= counts[:, None], -torch.inf))

    @contextmanager
    def _bare(self) -> Iterator[None]:
        with self._peft.disable_adapter():
            yield

    def _parameters(self) -> Mapping[str, nn.Parameter]:
        return {**self._factors, **({SOFT_PROMPT: self.soft_prompt} if len(self.soft_prompt) else {})}


class _Core(nn.Module):
    """B with an r x r core behind it: what PEFT multiplies A with."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.core = nn.Parameter(torch.zeros(rank, rank), requires_grad=False)

    def forward(self, weight: Tensor) -> Tensor:
        return weight @ self.core


def _factors(model: Any, *, core: bool) -> Iterator[tuple[str, nn.Parameter]]:
    """The LoRA's parameters by PEFT's names, none of which asks for gradients."""
    for module_name, module in list(model.named_modules()):
        if not hasattr(module, "lora_A") or _ADAPTER not in module.lora_A:
            continue
        a, b = module.lora_A[_ADAPTER].weight, module.lora_B[_ADAPTER].weight
        yield f"{module_name}.lora_A.weight", a.requires_grad_(False)
        yield f"{module_name}.lora_B.weight", b.requires_grad_(False)
        if core:
            between = _Core(a.shape[0])
            parametrize.register_parametrization(module.lora_B[_ADAPTER], "weight", between)
            yield f"{module_name}{_CORE}", between.core


def _orthonormal(draw: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A matrix of orthonormal rows or columns, whichever are fewer."""
    tall = draw.normal(size=(max(shape), min(shape)))
    q, _ = np.linalg.qr(tall)
    return np.ascontiguousarray(q if shape[0] >= shape[1] else q.T, dtype=np.float32)
