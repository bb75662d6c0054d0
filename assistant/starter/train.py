"""Trains the starter model: a small Qwen3 that learns the three prompts of a turn and nothing else.

One step takes a batch of each task. The system message that a task's prompts share runs once a batch and every
row attends to it. Weight matrices are optimised by Muon (Jordan et al. 2024), embeddings and norms by AdamW; the
learning rate warms up, holds, and falls linearly to zero. The state is saved every few minutes, so an
interrupted run goes on where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from assistant.starter.corpus import TASKS, Corpus, Row, TaskName

STATE = "state.pt"


@dataclass(frozen=True)
class Recipe:
    """Sizes and rates of a training run; everything that decides the result besides the corpus."""

    hidden_size: int = 256
    layers: int = 6
    intermediate_size: int = 768
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    steps: int = 1500
    batch: dict[str, int] = field(default_factory=lambda: {"understand": 96, "rank": 2, "respond": 6})
    weight: dict[str, float] = field(default_factory=lambda: {"understand": 4.0, "rank": 0.3, "respond": 1.0})
    context_weight: dict[str, float] = field(default_factory=lambda: {"understand": 0.3})
    muon_rate: float = 0.004
    adam_rate: float = 2e-3
    warmup: int = 30
    decay_share: float = 0.45
    weight_decay: float = 0.01
    seed: int = 7

    def rate(self, step: int) -> float:
        """The factor on the learning rates at ``step``: a trapezoid from 0 up to 1 and down to 0."""
        left = (self.steps - step) / max(1.0, self.decay_share * self.steps)
        return min(1.0, (step + 1) / self.warmup, max(0.0, left))


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Qwen3ForCausalLM:
    """A model with random weights in float32."""
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
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        attn_implementation="sdpa",
    )
    return Qwen3ForCausalLM(config)


def optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for the rest."""
    inside = [p for name, p in model.named_parameters() if ".layers." in name and p.ndim == 2]
    rest = [p for name, p in model.named_parameters() if not (".layers." in name and p.ndim == 2)]
    return [
        torch.optim.Muon(inside, lr=recipe.muon_rate, weight_decay=recipe.weight_decay),
        torch.optim.AdamW(rest, lr=recipe.adam_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def batch_loss(
    model: Qwen3ForCausalLM, prefix: Sequence[int], rows: Sequence[Row], pad: int, context_weight: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The mean cross-entropy over the answers of ``rows``, and what is to be minimised: two float32 scalars.

    The second adds ``context_weight`` times the loss over what precedes the answers.
    ``prefix`` (P,) runs once; its keys and values are repeated for each of the B rows (B, T).
    """
    device = model.device
    width = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    attended = torch.zeros((len(rows), len(prefix) + width), dtype=torch.long)
    attended[:, : len(prefix)] = 1
    for at, row in enumerate(rows):
        ids[at, : len(row.ids)] = torch.tensor(row.ids)
        attended[at, len(prefix) : len(prefix) + len(row.ids)] = 1
    start = torch.tensor([list(prefix)], device=device)
    cache = model.model(input_ids=start, use_cache=True).past_key_values
    cache.batch_repeat_interleave(len(rows))
    positions = torch.arange(len(prefix), len(prefix) + width, device=device).expand(len(rows), -1)
    hidden = model.model(
        input_ids=ids.to(device),
        attention_mask=attended.to(device),
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state  # (B, T, H)
    if rows[0].target is not None:
        loss = _choice_loss(model, hidden, rows)
        return loss, loss
    answer = _next_token_loss(model, hidden, ids, [(row.answer_from - 1, len(row.ids) - 1) for row in rows])
    if not context_weight:
        return answer, answer
    context = _next_token_loss(model, hidden, ids, [(0, row.answer_from - 1) for row in rows])
    return answer, answer + context_weight * context


def _next_token_loss(model: Qwen3ForCausalLM, hidden: Tensor, ids: Tensor, spans: Sequence[tuple[int, int]]) -> Tensor:
    """Mean cross-entropy of the tokens that follow the places of ``spans``, one half-open span a row."""
    where = [(at, place) for at, (first, last) in enumerate(spans) for place in range(first, last)]
    at, place = (torch.tensor(values, device=hidden.device) for values in zip(*where, strict=True))
    logits = model.lm_head(hidden[at, place])
    return nn.functional.cross_entropy(logits.float(), ids.to(hidden.device)[at, place + 1])


def _choice_loss(model: Qwen3ForCausalLM, hidden: Tensor, rows: Sequence[Row]) -> Tensor:
    last = torch.tensor([len(row.ids) - 1 for row in rows], device=hidden.device)
    logits = model.lm_head(hidden[torch.arange(len(rows), device=hidden.device), last]).float()
    wanted = torch.zeros_like(logits)
    for at, row in enumerate(rows):
        if row.target is None:
            raise ValueError("a rank row without its target among others with theirs")
        labels, weights = row.target
        wanted[at, labels] = torch.tensor(weights, dtype=torch.float32, device=hidden.device)
    entropy = -(wanted * wanted.clamp_min(1e-9).log()).sum(-1)
    return (nn.functional.cross_entropy(logits, wanted, reduction="none") - entropy).mean()


def train(
    corpus: Corpus,
    recipe: Recipe,
    work: Path,
    progress: Callable[[int, dict[str, float]], None],
    *,
    save_every_seconds: float = 240.0,
    device: str = "cpu",
) -> Qwen3ForCausalLM:
    """Trains from ``work``'s saved state, or from nothing, to ``recipe.steps``; ``progress`` gets step and losses."""
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = corpus.tokenizer
    model = new_model(recipe, tokenizer).to(device)
    optimisers = optimizers(model, recipe)
    first = _resume(model, optimisers, work, recipe)
    base_rates = [group["lr"] for group in (o.param_groups[0] for o in optimizers(model, recipe))]
    prefixes = {task: corpus.prefix_ids(task) for task in TASKS}
    saved = time.monotonic()
    model.train()
    for step in range(first, recipe.steps):
        for optimiser, base in zip(optimisers, base_rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = base * recipe.rate(step)
        losses: dict[str, float] = {}
        for task in TASKS:
            losses[task] = _backward(model, corpus, prefixes[task], task, step, recipe)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        progress(step + 1, losses)
        if time.monotonic() - saved > save_every_seconds or step + 1 == recipe.steps:
            _save(model, optimisers, work, step + 1, recipe)
            saved = time.monotonic()
    return model


def _backward(
    model: Qwen3ForCausalLM, corpus: Corpus, prefix: Sequence[int], task: TaskName, step: int, recipe: Recipe
) -> float:
    rows = corpus.rows(task, step, recipe.batch[task])
    weight = recipe.context_weight.get(task, 0.0)
    with torch.autocast(model.device.type, torch.bfloat16):
        answer, loss = batch_loss(model, prefix, rows, corpus.tokenizer.pad_token_id, weight)
    (loss * recipe.weight[task]).backward()
    return float(answer.detach())


def _save(model: nn.Module, optimisers: list[torch.optim.Optimizer], work: Path, step: int, recipe: Recipe) -> None:
    state: dict[str, Any] = {
        "model": model.state_dict(),
        "step": step,
        "optimizers": [o.state_dict() for o in optimisers],
    }
    temporary = work / f"{STATE}.part"
    torch.save(state, temporary)
    temporary.replace(work / STATE)
    (work / "recipe.json").write_text(json.dumps({"step": step, **asdict(recipe)}, indent=2), encoding="utf-8")


def _resume(model: nn.Module, optimisers: list[torch.optim.Optimizer], work: Path, recipe: Recipe) -> int:
    path = work / STATE
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    for optimiser, saved in zip(optimisers, state["optimizers"], strict=True):
        optimiser.load_state_dict(saved)
    return min(int(state["step"]), recipe.steps)


def export(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes ``model`` in bf16 safetensors with its tokenizer, as transformers, PEFT and vLLM load it."""
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
