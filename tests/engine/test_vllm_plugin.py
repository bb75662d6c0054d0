"""Tokens without an adapter get nothing of anybody's."""

from __future__ import annotations

import importlib

import pytest
import torch

pytest.importorskip("vllm")


def test_a_token_without_an_adapter_gets_zeros_and_the_others_their_products() -> None:
    from assistant.engine.vllm_plugin import register

    register()
    register()
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 8, generator=draw)
    slots = torch.randn(4, 1, 2, 8, generator=draw)
    for name in ("vllm.lora.ops.torch_ops.lora_ops", "vllm.lora.punica_wrapper.punica_cpu"):
        found = torch.full((3, 2), 9.0)
        importlib.import_module(name).bgmv_shrink(inputs, slots, found, torch.tensor([3, -1, 0]), 0.5)
        torch.testing.assert_close(found[0], 0.5 * slots[3, 0] @ inputs[0])
        torch.testing.assert_close(found[1], torch.zeros(2))
        torch.testing.assert_close(found[2], 0.5 * slots[0, 0] @ inputs[2])


def test_vllm_finds_it() -> None:
    from importlib.metadata import entry_points

    (found,) = (one for one in entry_points(group="vllm.general_plugins") if one.name == "sotto")
    assert found.value == "assistant.engine.vllm_plugin:register"
