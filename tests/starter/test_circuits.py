"""A new model copies and compares before it has learned anything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from assistant.starter.train import Recipe, new_model


@pytest.mark.parametrize("length", [40, 300])
def test_a_new_model_goes_on_as_its_prompt_went_on_before(tokenizer: Any, length: int) -> None:
    model = new_model(Recipe(), tokenizer).eval()
    # No token twice: it would have two successors.
    once = 300 + torch.randperm(len(tokenizer) - 300, generator=torch.Generator().manual_seed(0))[None, :length]
    ids = torch.cat([once, once], dim=1)
    with torch.no_grad():
        guesses = model(input_ids=ids).logits[:, length:-1].argmax(-1)
    assert (guesses == ids[:, length + 1 :]).float().mean() > 0.8


def test_the_same_seed_lays_the_same_weights(tokenizer: Any) -> None:
    one, other = (new_model(Recipe(layers=3), tokenizer).state_dict() for _ in range(2))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    "wrong", [{"kv_heads": 2}, {"heads": 2, "kv_heads": 2}, {"layers": 2}, {"hidden_size": 100}, {"head_dim": 32}]
)
def test_sizes_without_room_are_refused(tokenizer: Any, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="circuits take"):
        new_model(replace(Recipe(), **wrong), tokenizer)  # type: ignore[arg-type]
