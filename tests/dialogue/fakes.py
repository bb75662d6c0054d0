"""A scripted engine and a tokenizer of characters, so that a turn runs without a model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

import numpy as np

from assistant.dialogue.types import Usage
from assistant.engine.gateway import Completion, Delta, FloatArray, Sampling
from assistant.engine.soft_prompts import SoftPrompt


class CharTokenizer:
    """Characters are tokens."""

    all_special_tokens = ["<|end|>"]  # noqa: RUF012

    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> list[int]:
        return [ord(c) for m in conversation for c in f"{m['role']}: {m['content']}\n"]

    def encode(self, text: str, **kwargs: Any) -> list[int]:
        return [ord(c) for c in text]


class ScriptedEngine:
    """Answers understand prompts by ``edits``, a function of the message, and respond prompts by ``replies``."""

    def __init__(self, edits: Callable[[str], str], replies: Sequence[str]) -> None:
        self.edits, self.replies = edits, list(replies)
        self.understood: list[str] = []
        self.prompts: list[str] = []
        self.samplings: list[Sampling] = []
        self.schemas: list[Mapping[str, Any]] = []
        self.closed = 0

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
        self.samplings.append(sampling)
        reply = self.replies.pop(0)
        try:
            for at in range(0, min(len(reply), sampling.max_tokens), 5):
                yield Delta(reply[at : min(at + 5, sampling.max_tokens)])
            yield Delta("", "length" if len(reply) > sampling.max_tokens else "stop", Usage(10, 5))
        finally:
            self.closed += 1

    async def complete(
        self,
        prompt: Sequence[int],
        *,
        model: str,
        sampling: Sampling,
        schema: Mapping[str, Any] | None = None,
        soft_prompt: SoftPrompt | None = None,
    ) -> Completion:
        message = "".join(map(chr, prompt)).rsplit("Message: ", 1)[1].strip()
        self.understood.append(message)
        self.schemas.append(schema or {})
        return Completion(self.edits(message), "stop", Usage(7, 3))

    async def label_logprobs(
        self, prompt: Sequence[int], labels: Sequence[int], *, model: str, soft_prompt: SoftPrompt | None = None
    ) -> FloatArray:
        self.prompts.append("".join(map(chr, prompt)))
        return np.full(len(labels), -np.log(len(labels)))

    async def models(self) -> list[str]:
        return ["sotto"]

    async def healthy(self) -> bool:
        return True
