"""Mends, inside vLLM, what the base model answers on CPUs beside requests under adapters.

vLLM 0.32 marks the tokens of requests without an adapter by the index -1, and its kernels for CPUs take that for the
last adapter slot: once as many adapters as ``--max-loras`` have been in use, the base model's replies are written with
a stranger's weights whenever an adapter's request shares their batch. Those rows must be zeros instead. vLLM's kernels
for GPUs skip them already. vLLM finds `register` by the entry point ``vllm.general_plugins`` in each of its processes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_OPS = "vllm.lora.ops.torch_ops.lora_ops"
_USERS = ("vllm.lora.ops.torch_ops", "vllm.lora.punica_wrapper.punica_cpu")
_NAME = "bgmv_shrink"


def register() -> None:
    """Puts the mended kernel in the place of vLLM's; again changes nothing."""
    ops = importlib.import_module(_OPS)
    kernel = getattr(ops, _NAME)
    if getattr(kernel, "mended", False):
        return
    mended = _without_base(kernel)
    for name in (_OPS, *_USERS):
        setattr(importlib.import_module(name), _NAME, mended)


def _without_base(kernel: Callable[..., None]) -> Callable[..., None]:
    def bgmv_shrink(
        inputs: torch.Tensor,
        lora_b_weights: torch.Tensor,
        output_tensor: torch.Tensor,
        lora_indices_tensor: torch.Tensor,
        scaling: float = 1.0,
    ) -> None:
        """``output_tensor`` (tokens, rank) is ``inputs`` (tokens, width) times each token's A, or 0 without one."""
        kernel(inputs, lora_b_weights, output_tensor, lora_indices_tensor, scaling)
        output_tensor[lora_indices_tensor < 0] = 0.0

    mended: Any = bgmv_shrink
    mended.mended = True
    return bgmv_shrink
