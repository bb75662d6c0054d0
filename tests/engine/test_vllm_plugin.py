"""What the plugin mends of vLLM on CPUs: adapters, seeds and waiting."""

from __future__ import annotations

import asyncio
import importlib
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from assistant.engine.command import SERVED_NAME
from assistant.engine.gateway import Sampling, VllmEngine
from assistant.engine.process import EngineProcess

pytest.importorskip("vllm")


def test_a_token_without_an_adapter_gets_zeros_and_the_others_their_products() -> None:
    from assistant.engine.vllm_plugin import mend_adapters

    mend_adapters()
    mend_adapters()
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


class Batch:
    """As much of vLLM's batch as is asked of it."""

    def __init__(self, generators: dict[int, torch.Generator]) -> None:
        self.generators, self.num_reqs = generators, len(generators)


class Runner:
    """As much of vLLM's model runner as is mended: request 0 of its batch is read in part."""

    def __init__(self) -> None:
        self.input_batch = Batch({at: torch.Generator().manual_seed(at) for at in range(2)})
        self.discard_request_mask = SimpleNamespace(np=np.array([True, False, True]))

    def _sample(self) -> list[float]:
        return [float(torch.rand(1, generator=one)) for one in self.input_batch.generators.values()]

    def _bookkeeping_sync(self) -> None:
        for at, generator in self.input_batch.generators.items():
            if self.discard_request_mask.np[at]:
                generator.set_offset(generator.get_offset() - 4)


def test_a_draw_that_does_not_count_is_wound_back_and_no_offset_asked_for() -> None:
    from assistant.engine.vllm_plugin import mend_seeds

    class Mended(Runner):
        pass

    with pytest.raises(RuntimeError, match="offset"):
        Runner()._bookkeeping_sync()
    mend_seeds(Mended)
    mend_seeds(Mended)
    runner = Mended()
    first = runner._sample()
    runner._bookkeeping_sync()
    second = runner._sample()
    assert second[0] == first[0]
    assert second[1] != first[1]
    assert sorted(runner.input_batch.generators) == [0, 1]


def test_a_reader_of_a_queue_sleeps_between_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.distributed.device_communicators import shm_broadcast

    from assistant.engine import vllm_plugin

    monkeypatch.setattr(shm_broadcast, "sched_yield", shm_broadcast.sched_yield)
    naps: list[float] = []
    vllm_plugin.mend_waiting()
    monkeypatch.setattr(vllm_plugin, "time", SimpleNamespace(sleep=naps.append))
    reader = shm_broadcast.SpinCondition.__new__(shm_broadcast.SpinCondition)
    reader.is_reader, reader.last_read, reader.busy_loop_s = True, time.monotonic(), 60
    reader.wait()
    assert naps == [vllm_plugin.NAP]


@pytest.mark.engine
@pytest.mark.asyncio(loop_scope="session")
async def test_seeded_requests_that_no_batch_has_room_for_are_answered_as_alone(starter_engine: EngineProcess) -> None:
    sampling = Sampling(max_tokens=3, temperature=1.0, seed=7)
    prompts = [[10 + number, *range(100, 1500)] for number in range(12)]
    engine = VllmEngine(starter_engine.url)
    try:
        replies = await asyncio.gather(*(engine.complete(one, model=SERVED_NAME, sampling=sampling) for one in prompts))
        alone = await engine.complete(prompts[-1], model=SERVED_NAME, sampling=sampling)
    finally:
        await engine.aclose()
    assert all(reply.usage.completion_tokens for reply in replies)
    assert replies[-1].text == alone.text
