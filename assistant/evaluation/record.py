"""An engine that also remembers what the model wrote, turn by turn, so that it can be judged before any repair."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from assistant.engine.gateway import Completion, Delta, Engine, FloatArray, Sampling
from assistant.engine.soft_prompts import SoftPrompt


@dataclass
class Calls:
    """What the model wrote in one turn: ``readings`` under a schema, and how many ``generations`` a reply took."""

    readings: list[Completion] = field(default_factory=list)
    generations: int = 0


_CALLS: ContextVar[Calls | None] = ContextVar("calls of this turn", default=None)


class Recorder:
    """Passes every call on to ``engine``. Turns that run at the same time are kept apart."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def turn(self) -> Iterator[Calls]:
        """Collects the calls made within, by this task and those it starts."""
        calls = Calls()
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
        if (calls := _CALLS.get()) is not None:
            calls.generations += 1
        deltas = self._engine.generate(prompt, model=model, sampling=sampling, schema=schema, soft_prompt=soft_prompt)
        async with aclosing(deltas):
            async for delta in deltas:
                yield delta

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
        completion = await self._engine.complete(
            prompt, model=model, sampling=sampling, schema=schema, soft_prompt=soft_prompt
        )
        if schema is not None and (calls := _CALLS.get()) is not None:
            calls.readings.append(completion)
        return completion

    async def label_logprobs(
        self, prompt: Sequence[int], labels: Sequence[int], *, model: str, soft_prompt: SoftPrompt | None = None
    ) -> FloatArray:
        """See `Engine.label_logprobs`."""
        return await self._engine.label_logprobs(prompt, labels, model=model, soft_prompt=soft_prompt)

    async def models(self) -> list[str]:
        """See `Engine.models`."""
        return await self._engine.models()

    async def healthy(self) -> bool:
        """See `Engine.healthy`."""
        return await self._engine.healthy()
