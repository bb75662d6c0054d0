"""The whole server in one process but for the model: real dialogue and retrieval over an engine that never tires."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI

from assistant.api.app import create_app
from assistant.dialogue.turn import Assistant
from assistant.dialogue.types import Usage
from assistant.engine.gateway import Completion, Delta, FloatArray, Sampling
from assistant.engine.soft_prompts import SoftPrompt
from assistant.settings import Settings
from retrieval.item import Item
from retrieval.search import Library
from tests.dialogue.fakes import CharTokenizer
from tests.retrieval.fakes import HashEncoder, MemoryCatalogue
from tests.retrieval.films import FILMS

EDIT = '{"act":"find","genres":["horror"]}'
REPLY = "Start with [1]. It is [1.genres]. Enjoy it."


class SteadyEngine:
    """Reads every message as ``edit`` and writes ``reply`` to each, with a pause of ``pace`` seconds between pieces.

    ``running`` counts the generations under way, ``prompts`` holds every prompt's text.
    """

    def __init__(self, edit: str = EDIT, reply: str = REPLY, pace: float = 0.0) -> None:
        self.edit, self.reply, self.pace = edit, reply, pace
        self.prompts: list[str] = []
        self.running = 0
        self.written = 0

    async def generate(
        self,
        prompt: Sequence[int],
        *,
        model: str,
        sampling: Sampling,
        schema: Mapping[str, Any] | None = None,
        soft_prompt: SoftPrompt | None = None,
    ) -> AsyncGenerator[Delta, None]:
        self.prompts.append("".join(map(chr, prompt)))
        self.running += 1
        try:
            for at in range(0, len(self.reply), 5):
                await asyncio.sleep(self.pace)
                self.written += 1
                yield Delta(self.reply[at : at + 5])
            yield Delta("", "stop", Usage(len(prompt), len(self.reply)))
        finally:
            self.running -= 1

    async def complete(
        self,
        prompt: Sequence[int],
        *,
        model: str,
        sampling: Sampling,
        schema: Mapping[str, Any] | None = None,
        soft_prompt: SoftPrompt | None = None,
    ) -> Completion:
        self.prompts.append("".join(map(chr, prompt)))
        await asyncio.sleep(self.pace)
        return Completion(self.edit, "stop", Usage(len(prompt), len(self.edit)))

    async def label_logprobs(
        self, prompt: Sequence[int], labels: Sequence[int], *, model: str, soft_prompt: SoftPrompt | None = None
    ) -> FloatArray:
        self.prompts.append("".join(map(chr, prompt)))
        await asyncio.sleep(self.pace)
        return np.full(len(labels), -np.log(len(labels)))

    async def models(self) -> list[str]:
        return ["sotto"]

    async def healthy(self) -> bool:
        return True


def whole_app(
    home: Path,
    engine: SteadyEngine | None = None,
    items: Iterable[Item] = FILMS,
    tokenizer: Any = None,
    **settings: Any,
) -> FastAPI:
    """The server over ``items`` with its state in ``home``."""
    engine = engine or SteadyEngine()
    library = Library(MemoryCatalogue(items), HashEncoder(), home / "index")
    assistant = Assistant(library, engine, tokenizer or CharTokenizer())
    return create_app(Settings(home=home, **settings), assistant, library, engine)
