"""Many replicas as one engine: the least busy that is ready is asked, and nothing is ever shown twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any, cast

import numpy as np
import pytest

from assistant.dialogue.types import Usage
from assistant.engine.fleet import Fleet, Replica
from assistant.engine.gateway import Completion, Delta, FloatArray, Sampling, VllmEngine
from assistant.engine.soft_prompts import SoftPrompt
from assistant.errors import EngineRejected, EngineTimeout, EngineUnavailable

GREEDY = Sampling(max_tokens=4)


class Fake:
    """A vLLM that counts calls and writes its name; ``pieces`` of a reply come before ``fault``, where it has one."""

    def __init__(self, name: str, fault: Exception | None = None, pieces: int = 1) -> None:
        self.name, self.fault, self.pieces, self.calls = name, fault, pieces, 0

    async def generate(
        self,
        prompt: Sequence[int],
        *,
        model: str,
        sampling: Sampling,
        schema: Mapping[str, Any] | None = None,
        soft_prompt: SoftPrompt | None = None,
    ) -> AsyncGenerator[Delta, None]:
        self.calls += 1
        for _ in range(self.pieces):
            yield Delta(self.name)
        if self.fault:
            raise self.fault

    async def complete(self, prompt: Sequence[int], **_: Any) -> Completion:
        self.calls += 1
        if self.fault:
            raise self.fault
        return Completion(self.name, "stop", Usage(1, 1))

    async def label_logprobs(self, prompt: Sequence[int], labels: Sequence[int], **_: Any) -> FloatArray:
        self.calls += 1
        if self.fault:
            raise self.fault
        return np.zeros(len(labels))


def fleet_of(*fakes: Fake) -> Fleet:
    return Fleet([Replica(fake.name, cast("VllmEngine", fake), up=True) for fake in fakes])


async def text(fleet: Fleet) -> str:
    return "".join([delta.text async for delta in fleet.generate([1], model="sotto", sampling=GREEDY)])


async def test_each_call_goes_to_the_least_busy_replica():
    one, two, three = Fake("1"), Fake("2"), Fake("3")
    fleet = fleet_of(one, two, three)
    async with AsyncExitStack() as held:
        for _ in range(7):
            stream = await held.enter_async_context(aclosing(fleet.generate([1], model="sotto", sampling=GREEDY)))
            await anext(stream)
        assert sorted(replica.busy for replica in fleet.replicas.values()) == [2, 2, 3]
        fleet.replicas["1"].busy, fleet.replicas["2"].busy = 9, 9
        assert await text(fleet) == "3"
    fleet.replicas["1"].busy = fleet.replicas["2"].busy = 0
    assert all(replica.busy == 0 for replica in fleet.replicas.values())


@pytest.mark.parametrize("state", [{"up": False}, {"draining": True}])
async def test_a_replica_that_is_down_or_draining_is_not_asked(state: dict[str, bool]):
    one, two = Fake("1"), Fake("2")
    fleet = fleet_of(one, two)
    for name, value in state.items():
        setattr(fleet.replicas["1"], name, value)
    for _ in range(4):
        await fleet.complete([1], model="sotto", sampling=GREEDY)
    assert (one.calls, two.calls) == (0, 4)
    with pytest.raises(EngineUnavailable, match="No replica"):
        await fleet.complete([1], model=f"{'a' * 64}.global", sampling=GREEDY)


@pytest.mark.parametrize("fault", [EngineUnavailable("gone"), EngineRejected("does not exist", 404)])
async def test_what_a_replica_refuses_before_its_first_word_is_asked_of_another(fault: Exception):
    bad, good = Fake("1", fault, pieces=0), Fake("2")
    for ask in (
        lambda fleet: fleet.complete([1], model="sotto", sampling=GREEDY),
        lambda fleet: fleet.label_logprobs([1], [0, 1], model="sotto"),
        text,
    ):
        fleet = fleet_of(bad, good)
        await ask(fleet)
        assert not fleet.replicas["1"].up, "until it was looked at"
        await ask(fleet)
    assert (bad.calls, good.calls) == (3, 6)


async def test_a_reply_that_breaks_off_after_its_first_word_is_not_begun_again():
    bad, good = Fake("1", EngineUnavailable("gone")), Fake("2")
    fleet = fleet_of(bad, good)
    stream = fleet.generate([1], model="sotto", sampling=GREEDY)
    assert (await anext(stream)).text == "1"
    with pytest.raises(EngineUnavailable, match="gone"):
        await anext(stream)
    assert good.calls == 0


@pytest.mark.parametrize("fault", [EngineTimeout("slow"), EngineRejected("bad", 400)])
async def test_other_faults_are_raised_and_cost_no_replica_its_calls(fault: Exception):
    bad, good = Fake("1", fault), Fake("2")
    fleet = fleet_of(bad, good)
    with pytest.raises(type(fault)):
        await fleet.complete([1], model="sotto", sampling=GREEDY)
    assert good.calls == 0
    assert fleet.replicas["1"].up


async def test_replicas_that_all_fail_are_each_asked_once_and_twice_in_all():
    fakes = [Fake(str(at), EngineUnavailable("gone")) for at in range(3)]
    with pytest.raises(EngineUnavailable, match="gone"):
        await fleet_of(*fakes).complete([1], model="sotto", sampling=GREEDY)
    assert [fake.calls for fake in fakes] == [1, 1, 0]


async def test_a_call_that_is_given_up_is_no_longer_counted():
    fleet = fleet_of(Fake("1", pieces=9))
    stream = fleet.generate([1], model="sotto", sampling=GREEDY)
    await anext(stream)
    assert fleet.replicas["1"].busy == 1
    await stream.aclose()
    await asyncio.sleep(0)
    assert fleet.replicas["1"].busy == 0
