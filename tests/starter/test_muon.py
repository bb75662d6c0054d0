"""Muon's update is close to orthogonal, and agrees with torch's own where that is exact enough."""

from __future__ import annotations

import pytest
import torch

from assistant.starter.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(16, 16), (8, 24), (24, 8)])
def test_singular_values_end_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(3, *shape)))
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_a_step_agrees_with_the_one_of_torch_but_for_its_rounding() -> None:
    torch.manual_seed(1)
    start, gradients = torch.randn(12, 6), torch.randn(3, 12, 6)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizers = (Muon([ours], lr=0.1, weight_decay=0.01), torch.optim.Muon([theirs], lr=0.1, weight_decay=0.01))
    for gradient in gradients:
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    assert torch.allclose(ours, theirs, atol=0.02)
