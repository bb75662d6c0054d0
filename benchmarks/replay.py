"""Records the calls that turns make to the engine, and makes them again without Sotto around them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from assistant.engine.gateway import Completion, Delta, Engine, FloatArray, Sampling
from assistant.engine.soft_prompts import SoftPrompt

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """One call: a ranking where there are ``labels``, else a generation, read for ``deltas`` pieces if not to its end.

    ``prompt`` and ``labels`` are token ids.
    """

    prompt: tuple[int, ...]
    model: str
    sampling: Sampling | None = None
    schema: Mapping[str, Any] | None = None
    labels: tuple[int, ...] = ()
    deltas: int | None = None

    async def make(self, engine: Engine) -> None:
        """Makes the call, and breaks it off where it was broken off."""
        if self.sampling is None:
            await engine.label_logprobs(self.prompt, self.labels, model=self.model)
            return
        stream = engine.generate(self.prompt, model=self.model, sampling=self.sampling, schema=self.schema)
        read = 0
        async with aclosing(stream):
            async for _ in stream:
                read += 1
                if read == self.deltas:
                    return


_CALLS: ContextVar[list[Call] | None] = ContextVar("calls of this turn", default=None)


class RecordingEngine:
    """Passes every call on to ``engine`` and records it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def turn(self) -> Iterator[list[Call]]:
        """The calls made within, by this task and those it starts, in the order in which they are made."""
        calls: list[Call] = []
        token = _CALLS.set(calls)
        try:
            yield calls
        finally:
            _CALLS.reset(token)

    async def generate(
        self,
        prompt: Sequence[int],
        *,
        model: str,
        sampling: Sampling,
        schema: Mapping[str, Any] | None = None,
        soft_prompt: SoftPrompt | None = None,
    ) -> AsyncGenerator[Delta, None]:
        """See `Engine.generate`."""
        calls, place = self._note(Call(tuple(prompt), model, sampling, schema))
        read, ended = 0, False
        try:
            async with aclosing(
                self._engine.generate(prompt, model=model, sampling=sampling, schema=schema, soft_prompt=soft_prompt)
            ) as deltas:
                async for delta in deltas:
                    read += 1
                    yield delta
            ended = True
        finally:
            if not ended:
                calls[place] = replace(calls[place], deltas=read)

    async def complete(
        self,
        prompt: Sequence[int],
        *,
        model: str,
        sampling: Sampling,
        schema: Mapping[str, Any] | None = None,
        soft_prompt: SoftPrompt | None = None,
    ) -> Completion:
        """See `Engine.complete`."""
        self._note(Call(tuple(prompt), model, sampling, schema))
        return await self._engine.complete(
            prompt, model=model, sampling=sampling, schema=schema, soft_prompt=soft_prompt
        )

    async def label_logprobs(
        self, prompt: Sequence[int], labels: Sequence[int], *, model: str, soft_prompt: SoftPrompt | None = None
    ) -> FloatArray:
        """See `Engine.label_logprobs`."""
        self._note(Call(tuple(prompt), model, labels=tuple(labels)))
        return await self._engine.label_logprobs(prompt, labels, model=model, soft_prompt=soft_prompt)

    async def models(self) -> list[str]:
        """See `Engine.models`."""
        return await self._engine.models()

    async def healthy(self) -> bool:
        """See `Engine.healthy`."""
        return await self._engine.healthy()

    def _note(self, call: Call) -> tuple[list[Call], int]:
        calls = _CALLS.get()
        if calls is None:
            raise RuntimeError("a call outside of any turn: use RecordingEngine.turn")
        calls.append(call)
        return calls, len(calls) - 1


async def replay(engine: Engine, calls: Sequence[Call]) -> None:
    """Makes the calls of one turn one after another, as each needs the answer to the one before."""
    for call in calls:
        await call.make(engine)


async def crowd(jobs: Sequence[T], streams: int, work: Callable[[T], Awaitable[object]]) -> tuple[list[float], float]:
    """Does ``jobs``, ``streams`` at a time: the seconds of each in order of their end, and those of all."""
    waiting, took = iter(jobs), list[float]()

    async def worker() -> None:
        for job in waiting:
            began = time.perf_counter()
            await work(job)
            took.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(streams)))
    return took, time.perf_counter() - began
