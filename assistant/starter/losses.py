"""What training minimises: the loss over the answers of a batch of rows that share a prefix.

The system message that all prompts of a task begin with runs once a batch and every row attends to it. A row may
hold several answers to one context; each attends to the context and to itself, so that a long prompt is paid for once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import Qwen3ForCausalLM

from assistant.starter.corpus import Row

PADDING = -1


class Losses(NamedTuple):
    """Two float32 scalars: the mean loss a token of the answers, and what is to be minimised."""

    answer: Tensor
    total: Tensor


class _Batch(NamedTuple):
    """B rows of T places. ``segments`` are 0 in the context, k in the k-th answer and `PADDING` behind the end."""

    ids: Tensor  # (B, T) int64
    segments: Tensor  # (B, T) int64
    positions: Tensor  # (B, T) int64, counted from the end of the prefix


def batch_losses(
    model: Qwen3ForCausalLM,
    prefix: Sequence[int],
    rows: Sequence[Row],
    *,
    context_weight: float = 0.0,
    probe: nn.Linear | None = None,
) -> Losses:
    """The losses of ``rows``, whose prompts all begin with ``prefix`` (P,).

    ``context_weight`` times the loss over what precedes the answers is added to what is minimised. For rank rows the
    loss is the divergence from the wanted distribution, to which the squared error of ``probe`` is added: a linear
    reading (hidden to 1) of each candidate's relevance at its label.
    """
    hidden, batch = _hidden(model, prefix, rows)
    if rows[0].choice is not None:
        return _choice_losses(model, hidden, rows, probe)
    answer = _next_token_loss(model, hidden, batch.ids, [_answer_steps(row) for row in rows])
    if not context_weight:
        return Losses(answer, answer)
    steps = [[(place, place + 1) for place in range(len(row.context) - 1)] for row in rows]
    return Losses(answer, answer + context_weight * _next_token_loss(model, hidden, batch.ids, steps))


def _hidden(model: Qwen3ForCausalLM, prefix: Sequence[int], rows: Sequence[Row]) -> tuple[Tensor, _Batch]:
    """The last hidden states (B, T, H) of ``rows``, and the batch they stand for."""
    batch = _batch(rows)
    device, count = model.device, len(rows)
    cache = model.model(input_ids=torch.tensor([list(prefix)], device=device), use_cache=True).past_key_values
    cache.batch_repeat_interleave(count)
    output = model.model(
        input_ids=batch.ids.to(device),
        attention_mask=_mask(batch.segments, len(prefix)).to(device),
        position_ids=(batch.positions + len(prefix)).to(device),
        past_key_values=cache,
        use_cache=True,
    )
    return output.last_hidden_state, batch


def _batch(rows: Sequence[Row]) -> _Batch:
    width = max(len(row) for row in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    segments = torch.full_like(ids, PADDING)
    positions = torch.zeros_like(ids)
    for at, row in enumerate(rows):
        start = 0
        for segment, part in enumerate((row.context, *row.answers)):
            end = start + len(part)
            ids[at, start:end] = torch.tensor(part, dtype=torch.long)
            segments[at, start:end] = segment
            first = 0 if segment == 0 else len(row.context)
            positions[at, start:end] = torch.arange(first, first + len(part))
            start = end
    return _Batch(ids, segments, positions)


def _mask(segments: Tensor, prefix: int) -> Tensor:
    """What is added to attention's logits, float32 (B, 1, T, P + T).

    0 for the prefix, the context and the own answer so far, as good as minus infinity for the rest.
    """
    rows, width = segments.shape
    query, key = segments[:, :, None], segments[:, None, :]
    own = ((key == 0) | (key == query)) & torch.ones((width, width), dtype=torch.bool).tril()
    mask = torch.zeros((rows, 1, width, prefix + width))
    mask[:, 0, :, prefix:].masked_fill_(~own, torch.finfo(torch.float32).min)
    return mask


def _answer_steps(row: Row) -> list[tuple[int, int]]:
    """For each token of each answer, the place that predicts it and its own."""
    steps, start = [], len(row.context)
    for answer in row.answers:
        steps.append((len(row.context) - 1, start))
        steps += [(place, place + 1) for place in range(start, start + len(answer) - 1)]
        start += len(answer)
    return steps


def _next_token_loss(
    model: Qwen3ForCausalLM, hidden: Tensor, ids: Tensor, steps: Sequence[Sequence[tuple[int, int]]]
) -> Tensor:
    """Mean cross-entropy over ``steps``: for each row, pairs of a predicting place and the place predicted."""
    where = [(at, place, wanted) for at, row in enumerate(steps) for place, wanted in row]
    at, place, wanted = (torch.tensor(values, device=hidden.device) for values in zip(*where, strict=True))
    logits = model.lm_head(hidden[at, place])
    return nn.functional.cross_entropy(logits.float(), ids.to(hidden.device)[at, wanted])


def _choice_losses(model: Qwen3ForCausalLM, hidden: Tensor, rows: Sequence[Row], probe: nn.Linear | None) -> Losses:
    device = hidden.device
    last = torch.tensor([len(row.context) - 1 for row in rows], device=device)
    logits = model.lm_head(hidden[torch.arange(len(rows), device=device), last]).float()
    wanted = torch.zeros_like(logits)
    places, relevance = [], []
    for at, row in enumerate(rows):
        if row.choice is None:
            raise ValueError("a rank row without its choice among others with theirs")
        wanted[at, list(row.choice.labels)] = torch.tensor(row.choice.target, dtype=torch.float32, device=device)
        places += [(at, place) for place in row.choice.places]
        relevance += list(row.choice.relevance)
    entropy = -(wanted * wanted.clamp_min(1e-9).log()).sum(-1)
    divergence = (nn.functional.cross_entropy(logits, wanted, reduction="none") - entropy).mean()
    if probe is None:
        return Losses(divergence, divergence)
    candidates, labels = torch.tensor(places, device=device).unbind(-1)
    read = probe(hidden[candidates, labels].float())[:, 0]
    wanted_relevance = torch.tensor(relevance, dtype=torch.float32, device=device)
    return Losses(divergence, divergence + nn.functional.mse_loss(read, wanted_relevance))
