"""Mends three faults of vLLM on CPUs, inside vLLM.

*Adapters.* vLLM 0.32 marks the tokens of requests without an adapter by the index -1, and its kernels for CPUs take
that for the last adapter slot: once as many adapters as ``--max-loras`` have been in use, the base model's replies are
written with a stranger's weights whenever an adapter's request shares their batch. Those rows must be zeros instead.
vLLM's kernels for GPUs skip them already.

*Seeds.* Where a batch has no room for the whole of a prompt, vLLM draws a token that does not count, and winds a seeded
request's generator back by its offset, which generators of CPUs do not have: the engine ends. Here what such a
generator was before the draw is put back.

*Waiting.* vLLM's processes wait for each other by asking again and again, with nothing but a yield in between: half a
core or more, on which the API and whoever calls it would work where there are few. Here they sleep in between.

vLLM finds `register` by the entry point ``vllm.general_plugins`` in each of its processes.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_OPS = "vllm.lora.ops.torch_ops.lora_ops"
_USERS = ("vllm.lora.ops.torch_ops", "vllm.lora.punica_wrapper.punica_cpu")
_NAME = "bgmv_shrink"
_RUNNER = "vllm.v1.worker.gpu_model_runner"
_QUEUE = "vllm.distributed.device_communicators.shm_broadcast"
NAP = 0.0002
"""Seconds between two looks; a step of a small model takes some milliseconds."""


def register() -> None:
    """Puts what is mended in the place of vLLM's own, on CPUs; again changes nothing."""
    if not importlib.import_module("vllm.platforms").current_platform.is_cpu():
        return
    mend_adapters()
    mend_seeds(importlib.import_module(_RUNNER).GPUModelRunner)
    mend_waiting()


def mend_adapters() -> None:
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


def mend_seeds(runner: Any) -> None:
    """Keeps ``runner``, a class of vLLM's model runners, from asking generators of CPUs for their offset."""
    if getattr(runner, "mended", False):
        return
    sample, bookkeeping = runner._sample, runner._bookkeeping_sync

    def _sample(self: Any, *arguments: Any, **named: Any) -> Any:
        before = {at: generator.get_state() for at, generator in _in_part(self).items()}
        output = sample(self, *arguments, **named)
        for at, state in before.items():
            self.input_batch.generators[at].set_state(state)
        return output

    def _bookkeeping_sync(self: Any, *arguments: Any, **named: Any) -> Any:
        generators, wound_back = self.input_batch.generators, _in_part(self)
        self.input_batch.generators = {at: one for at, one in generators.items() if at not in wound_back}
        try:
            return bookkeeping(self, *arguments, **named)
        finally:
            self.input_batch.generators = generators

    runner._sample, runner._bookkeeping_sync, runner.mended = _sample, _bookkeeping_sync, True


def mend_waiting() -> None:
    """Has vLLM's queues in shared memory sleep where they would look again at once."""
    importlib.import_module(_QUEUE).sched_yield = lambda: time.sleep(NAP)  # type: ignore[attr-defined]


def _in_part(runner: Any) -> dict[int, torch.Generator]:
    """The generators, by their places in the batch, of requests whose prompt is not read to its end in this step."""
    batch = runner.input_batch
    unread = runner.discard_request_mask.np[: batch.num_reqs]
    return {at: generator for at, generator in batch.generators.items() if unread[at]}
