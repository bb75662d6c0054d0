"""What a new model's attention looks for before it has learned anything: neighbours, equals, what followed last time.

A transformer of this size takes far more text than the recipe generates to find out how to copy from its prompt and
how to compare a record with a wish. So its first weights hold those circuits (the induction head of Olsson et al. 2022,
https://arxiv.org/abs/2209.11895, the diagonal query-key product of Trockman & Kolter 2023,
https://arxiv.org/abs/2305.09828), and training starts from there; nothing of them is fixed.

A token's embedding has three parts: ``read``, large, by which attention tells tokens apart (the number before it is
the same for all, for queries that ask for a place whatever the token); ``scratch``, empty, where heads note things
down; and ``written``, a small copy of ``read``, which the tied output layer reads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import Qwen3ForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer

COMMON = 6.0  # the number that all tokens share
SIZE = 14.0  # length of what tells a token from others
WRITTEN = 0.1  # the same, as the output layer reads it
SHARPNESS = 2.2  # of the layers with circuits; 1.5 in the others
SPREAD = 0.7  # singular values of weights that hold no circuit
AWAY = 0.4  # how strongly a token's equal is sought elsewhere than at the token itself
FAST, SLOW = 6, 14  # pairs of a head's numbers that turn within a few tokens, and hardly ever


class _Layout:
    """Where the parts of the residual stream lie, for a hidden size that 16 divides."""

    def __init__(self, hidden: int) -> None:
        wide = 7 * hidden // 16
        self.read = torch.arange(1, wide)
        self.scratch = torch.arange(wide, wide + hidden // 8)
        self.written = torch.arange(wide + hidden // 8, wide + hidden // 8 + len(self.read))


@torch.no_grad()
def lay_circuits(model: Qwen3ForCausalLM, seed: int, known: Tensor | None = None) -> None:
    """Overwrites the weights of ``model``, whose every head has its own keys (as many key heads as heads, 4 or more).

    ``known`` are token embeddings (V, any width) of an earlier model, whose likenesses the new ones keep; without them
    they are random. ValueError where the sizes leave no room.
    """
    config = model.config
    if config.num_key_value_heads != config.num_attention_heads or config.num_attention_heads < 4:
        raise ValueError("circuits take 4 heads or more, each with keys of its own")
    if config.hidden_size % 16 or config.num_hidden_layers < 3 or config.head_dim < 2 * (FAST + SLOW):
        raise ValueError("circuits take 3 layers or more, a hidden size that 16 divides and heads 40 wide or more")
    layout = _Layout(config.hidden_size)
    draw = torch.Generator().manual_seed(seed)
    _embed(model, layout, draw, known)
    for number, layer in enumerate(model.model.layers):
        _spread(layer, draw, SHARPNESS if number < 3 else 1.5)
    heads = _Heads(model, layout, draw)
    heads.note_before(0, 0)
    heads.look_back(0, 1, 2)
    heads.match(0, 2)
    heads.continue_as_before(1, 0, 0)
    heads.continue_as_before(1, 1, 1)
    heads.match(1, 2)
    heads.match(2, 0)
    heads.match(2, 1)
    heads.look_back(2, 2, 1)
    for number in range(3, config.num_hidden_layers - 1):
        heads.match(number, 0)
    if config.num_hidden_layers > 4:
        heads.look_back(3, 1, 1)


def _embed(model: Qwen3ForCausalLM, layout: _Layout, draw: torch.Generator, known: Tensor | None) -> None:
    weight = model.model.embed_tokens.weight
    width = len(layout.read)
    tokens = torch.randn(len(weight), width, generator=draw)
    if known is not None:
        centred = nn.functional.normalize(known.float() - known.float().mean(0))
        strongest = torch.linalg.svd(centred, full_matrices=False).Vh[:width]
        found = centred @ strongest.T
        # Half whitened: likenesses stay, and no few directions drown the others.
        tokens[:, : len(strongest)] = found / found.std(0).sqrt()
        tokens[:, len(strongest) :] = 0.0
    tokens = nn.functional.normalize(tokens) * SIZE
    weight.zero_()
    weight[:, 0] = COMMON
    weight[:, layout.read] = tokens
    weight[:, layout.written] = WRITTEN * tokens
    model.model.norm.weight.fill_(0.05)
    model.model.norm.weight[layout.written[0] :] = 1.0


def _spread(layer: Qwen3DecoderLayer, draw: torch.Generator, sharpness: float) -> None:
    """Matrices that keep lengths and, at first, add nothing to the residual stream."""
    attention, mlp = layer.self_attn, layer.mlp
    for norm in (attention.q_norm, attention.k_norm):
        norm.weight.fill_(sharpness)
    for matrix in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj):
        rows, columns = matrix.weight.shape
        matrix.weight.copy_(SPREAD * _orthonormal(rows, columns, draw))
    mlp.down_proj.weight.zero_()
    attention.o_proj.weight.zero_()


class _Heads:
    """Writes the circuits into heads, by layer and head."""

    def __init__(self, model: Qwen3ForCausalLM, layout: _Layout, draw: torch.Generator) -> None:
        self.layers, self.layout, self.draw = model.model.layers, layout, draw
        self.hidden, self.width = model.config.hidden_size, model.config.head_dim
        self.theta = float(model.config.rope_parameters["rope_theta"])
        half = self.width // 2
        slow = torch.arange(half - SLOW, half)
        self.slow = torch.cat([slow, slow + half])[: len(layout.scratch)]
        self.code = _orthonormal(len(self.slow), len(layout.read), draw)
        self.common = torch.zeros(self.hidden)
        self.common[0] = 1.0

    def look_back(self, layer: int, head: int, offset: int) -> None:
        """Attends to the token ``offset`` before."""
        query, key = self._wave(offset)
        self._set(layer, head, torch.outer(query, self.common), torch.outer(key, self.common))

    def note_before(self, layer: int, head: int) -> None:
        """Attends to the token before and notes its code in scratch."""
        self.look_back(layer, head, 1)
        lanes = torch.arange(len(self.slow))
        self._carry(layer, head, self.code, self.layout.read, lanes, self.layout.scratch[: len(lanes)])

    def match(self, layer: int, head: int) -> None:
        """Attends to earlier tokens like the one at hand, not to that one itself."""
        like = self._placed(_orthonormal(len(self.slow), len(self.layout.read), self.draw), self.layout.read)
        here, _ = self._wave(0)
        push = AWAY * SIZE / 2 / COMMON * torch.outer(here, self.common)
        self._set(layer, head, like + push, like - push)

    def continue_as_before(self, layer: int, head: int, half: int) -> None:
        """Attends to what followed the last token like the one at hand, and writes a ``half`` (0 or 1) of it."""
        turn = _orthonormal(len(self.slow), len(self.slow), self.draw)
        keys = self._placed(turn, self.layout.scratch[: len(self.slow)])
        self._set(layer, head, self._placed(turn @ self.code, self.layout.read), keys)
        lanes = torch.arange(min(self.width, (len(self.layout.read) + 1) // 2))
        places = torch.arange(len(self.layout.read))[half * len(lanes) :][: len(lanes)]
        lanes = lanes[: len(places)]
        self._carry(layer, head, torch.eye(len(lanes)), self.layout.read[places], lanes, self.layout.written[places])

    def _wave(self, offset: int) -> tuple[Tensor, Tensor]:
        """A query and a key whose product under the rotary embedding peaks where the key is ``offset`` before."""
        half = self.width // 2
        rate = self.theta ** (-torch.arange(half) / half)
        size = torch.zeros(half)
        size[:FAST] = FAST**-0.5
        key = torch.cat([size, torch.zeros(half)])
        return torch.cat([size * torch.cos(offset * rate), -size * torch.sin(offset * rate)]), key

    def _placed(self, block: Tensor, columns: Tensor) -> Tensor:
        """``block`` on a head's slow lanes, (width, hidden)."""
        whole = torch.zeros(self.width, self.hidden)
        whole[self.slow[:, None], columns[None]] = block
        return whole

    def _set(self, layer: int, head: int, query: Tensor, key: Tensor) -> None:
        rows = slice(head * self.width, (head + 1) * self.width)
        attention = self.layers[layer].self_attn
        attention.q_proj.weight[rows] = query
        attention.k_proj.weight[rows] = key

    def _carry(self, layer: int, head: int, block: Tensor, source: Tensor, lanes: Tensor, target: Tensor) -> None:
        """What is attended to is read off ``source`` through ``block`` and added to ``target``."""
        attention, first = self.layers[layer].self_attn, head * self.width
        attention.v_proj.weight[first : first + self.width] = 0.0
        attention.v_proj.weight[(first + lanes)[:, None], source[None]] = block
        attention.o_proj.weight[target, first + lanes] = 1.0


def _orthonormal(rows: int, columns: int, draw: torch.Generator) -> Tensor:
    """A random matrix whose rows (or columns, where these are fewer) are orthonormal."""
    tall: Tensor = torch.linalg.qr(torch.randn(max(rows, columns), min(rows, columns), generator=draw)).Q
    return tall if rows >= columns else tall.T
