"""Trains the starter model: a small Qwen3 that learns the three prompts of a turn and nothing else.

One step takes a batch of each task. Weight matrices are optimised by Muon (Jordan et al. 2024), embeddings and
norms by AdamW; the learning rate warms up, holds, and falls linearly to zero. The state is saved every few
minutes, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from assistant.engine.processor import has_native_bf16
from assistant.starter.circuits import lay_circuits
from assistant.starter.corpus import TASKS, Corpus, TaskName
from assistant.starter.losses import batch_losses
from assistant.starter.muon import Muon

STATE = "state.pt"


@dataclass(frozen=True)
class Recipe:
    """Sizes and rates of a training run; everything that decides the result besides the corpus."""

    hidden_size: int = 256
    layers: int = 6
    intermediate_size: int = 768
    heads: int = 4
    kv_heads: int = 4
    head_dim: int = 64
    steps: int = 1500
    batch: dict[str, int] = field(default_factory=lambda: {"understand": 24, "rank": 8, "respond": 6})
    weight: dict[str, float] = field(default_factory=lambda: {"understand": 3.0, "rank": 1.0, "respond": 1.0})
    context_weight: dict[str, float] = field(default_factory=dict)
    muon_rate: float = 0.012
    adam_rate: float = 2e-3
    warmup: int = 30
    decay_share: float = 0.4
    weight_decay: float = 0.01
    seed: int = 7

    def rate(self, step: int) -> float:
        """The factor on the learning rates at ``step``: a trapezoid from 0 up to 1 and down to 0."""
        left = (self.steps - step) / max(1.0, self.decay_share * self.steps)
        return min(1.0, (step + 1) / self.warmup, max(0.0, left))


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase, known: Tensor | None = None) -> Qwen3ForCausalLM:
    """A model in float32 that holds its first circuits (`lay_circuits`), and ``known`` token embeddings if any."""
    torch.manual_seed(recipe.seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.layers,
        intermediate_size=recipe.intermediate_size,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        head_dim=recipe.head_dim,
        tie_word_embeddings=True,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        attn_implementation="sdpa",
    )
    model = Qwen3ForCausalLM(config)
    lay_circuits(model, recipe.seed, known)
    return model


class Run:
    """A training run: the model, the probe that reads relevance at the candidates, and their optimisers."""

    def __init__(self, corpus: Corpus, recipe: Recipe, work: Path, device: str, start: Path | None = None) -> None:
        self.corpus, self.recipe, self.work, self.device = corpus, recipe, work, device
        torch.manual_seed(recipe.seed)
        self.model = _first_model(corpus, recipe, start).to(device)
        self.probe = nn.Linear(recipe.hidden_size, 1).to(device)
        self.prefixes = {task: corpus.prefix_ids(task) for task in TASKS}
        matrices = [p for p in self.model.model.layers.parameters() if p.ndim == 2]
        inside = set(map(id, matrices))
        rest = [p for p in (*self.model.parameters(), *self.probe.parameters()) if id(p) not in inside]
        self.optimizers: dict[torch.optim.Optimizer, float] = {
            Muon(matrices, lr=recipe.muon_rate, weight_decay=recipe.weight_decay): recipe.muon_rate,
            torch.optim.AdamW(rest, lr=recipe.adam_rate, betas=(0.9, 0.98), weight_decay=0.0): recipe.adam_rate,
        }

    def step(self, number: int) -> dict[str, float]:
        """One optimiser step over a batch of each task; returns the mean loss of each, in nats."""
        losses: dict[str, float] = {task: self._backward(task, number) for task in TASKS}
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, rate in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = rate * self.recipe.rate(number)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return losses

    def _backward(self, task: TaskName, number: int) -> float:
        rows = self.corpus.rows(task, number, self.recipe.batch[task])
        weight = self.recipe.context_weight.get(task, 0.0)
        with torch.autocast(self.device, torch.bfloat16, enabled=_has_bf16(self.device)):
            losses = batch_losses(self.model, self.prefixes[task], rows, context_weight=weight, probe=self.probe)
        (losses.total * self.recipe.weight[task]).backward()
        return float(losses.answer.detach())

    def save(self, step: int) -> None:
        """Keeps everything that the run needs to go on after ``step`` steps; a stop while writing loses nothing."""
        state: dict[str, Any] = {
            "step": step,
            "model": self.model.state_dict(),
            "probe": self.probe.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        temporary = self.work / f"{STATE}.part"
        torch.save(state, temporary)
        temporary.replace(self.work / STATE)
        (self.work / "recipe.json").write_text(json.dumps({"step": step, **asdict(self.recipe)}, indent=2), "utf-8")

    def resume(self) -> int:
        """Takes up the saved state; returns the steps done, 0 where there is none."""
        path = self.work / STATE
        if not path.exists():
            return 0
        state = torch.load(path, weights_only=True, map_location=self.device)
        self.model.load_state_dict(state["model"])
        self.probe.load_state_dict(state["probe"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        return min(int(state["step"]), self.recipe.steps)


def train(
    corpus: Corpus,
    recipe: Recipe,
    work: Path,
    progress: Callable[[int, dict[str, float]], None],
    *,
    start: Path | None = None,
    save_every_seconds: float = 240.0,
    device: str = "cpu",
) -> Qwen3ForCausalLM:
    """Trains to ``recipe.steps``; ``progress`` gets the step and the losses.

    A run takes up ``work``'s saved state; without one it begins with the weights of the model in the folder
    ``start``, with its token embeddings alone where it has another shape, or anew.
    """
    work.mkdir(parents=True, exist_ok=True)
    run = Run(corpus, recipe, work, device, start)
    first = run.resume()
    saved = time.monotonic()
    run.model.train()
    for step in range(first, recipe.steps):
        progress(step + 1, run.step(step))
        if time.monotonic() - saved > save_every_seconds or step + 1 == recipe.steps:
            run.save(step + 1)
            saved = time.monotonic()
    return run.model


def _first_model(corpus: Corpus, recipe: Recipe, start: Path | None) -> Qwen3ForCausalLM:
    """What a run begins with; of a ``start`` of another shape the embeddings are kept."""
    if start is None:
        return new_model(recipe, corpus.tokenizer)
    given = Qwen3ForCausalLM.from_pretrained(start, dtype=torch.float32)
    model = new_model(recipe, corpus.tokenizer, given.model.embed_tokens.weight.detach())
    weights = given.state_dict()
    if all(value.shape == weights[name].shape for name, value in model.state_dict().items() if name in weights):
        model.load_state_dict(weights)
    return model


def _has_bf16(device: str) -> bool:
    """Whether ``device`` computes in bfloat16; a CPU that has to imitate it is twenty times slower than in float32."""
    return device != "cpu" or has_native_bf16()


def export(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes ``model`` in bf16 safetensors with its tokenizer, as transformers, PEFT and vLLM load it."""
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
