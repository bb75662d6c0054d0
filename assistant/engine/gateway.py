"""Speaks to one vLLM server over HTTP, by token ids.

Prompts travel as ids, never as text, so that what the model reads is exactly what `prompts.build` wrote. Only the
routes in `ALLOWED` are ever called, and those in `ADAPTERS` to load and unload adapters: vLLM guards none of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import httpx
import numpy as np
import numpy.typing as npt

from assistant.dialogue.types import FinishReason, Usage
from assistant.engine.answers import VERSION, Delta, events, parsed, piece, refusal
from assistant.engine.soft_prompts import Embeddings, SoftPrompt
from assistant.errors import ContextTooLong, EngineError, EngineTimeout, EngineUnavailable

__all__ = ["ADAPTERS", "ALLOWED", "MAX_LABELS", "Completion", "Delta", "Engine", "Sampling", "VllmEngine"]

FloatArray = npt.NDArray[np.float64]

Routes = frozenset[tuple[str, str]]

ALLOWED: Routes = frozenset({("GET", "/health"), ("GET", "/v1/models"), ("POST", "/v1/completions")})
ADAPTERS: Routes = frozenset({("POST", "/v1/load_lora_adapter"), ("POST", "/v1/unload_lora_adapter")})
MAX_LABELS = 128
"""vLLM's own bound on ``logprob_token_ids``."""

TIMEOUT = httpx.Timeout(120.0, connect=5.0)
"""Seconds to connect, and between two pieces of an answer."""

HEALTH_TIMEOUT = httpx.Timeout(5.0)
KEPT = 8

PIECE, WHOLE = 4, 64
"""Tokens in a piece of what is streamed, and of what is wanted whole.

Every piece costs both processes about as much as a token costs the model, and nobody is shown less than a sentence.
The first token comes by itself.
"""

# xgrammar 0.2.8 lets control characters into strings of bounded length; compact JSON holds none anywhere.
_NO_CONTROLS = dict.fromkeys(range(0x20), " ")


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn. ``temperature`` 0 takes the likeliest token.

    ``pattern`` is a regular expression that the whole text will match.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    pattern: str | None = None


@dataclass(frozen=True)
class Completion:
    """A whole reply."""

    text: str
    finish_reason: FinishReason
    usage: Usage


class Engine(Protocol):
    """What the dialogue and the API need of a model engine. Every method raises EngineError.

    ``prompt`` is a sequence of token ids, ``model`` a name that the engine serves. ``soft_prompt`` stands before the
    prompt, float32 (tokens, hidden); without one, a request takes the ordinary path.
    """

    def generate(
        self,
        prompt: Sequence[int],
        *,
        model: str,
        sampling: Sampling,
        schema: Mapping[str, Any] | None = None,
        soft_prompt: SoftPrompt | None = None,
    ) -> AsyncGenerator[Delta, None]:
        """Streams a reply; closing the generator aborts it. ``schema`` is a JSON schema that the text will follow."""
        ...

    async def complete(
        self,
        prompt: Sequence[int],
        *,
        model: str,
        sampling: Sampling,
        schema: Mapping[str, Any] | None = None,
        soft_prompt: SoftPrompt | None = None,
    ) -> Completion:
        """As `generate`, all at once."""
        ...

    async def label_logprobs(
        self, prompt: Sequence[int], labels: Sequence[int], *, model: str, soft_prompt: SoftPrompt | None = None
    ) -> FloatArray:
        """Log-probabilities, float64 (n,), of the next token being each of ``labels``, given that it is one of them."""
        ...

    async def models(self) -> list[str]:
        """The names served."""
        ...

    async def healthy(self) -> bool:
        """Whether the engine answers; never raises."""
        ...


class VllmEngine:
    """A vLLM server at ``base_url``. May be shared by concurrent turns; close it with `aclose`.

    ``context`` is how many tokens of prompt and reply it takes together; ContextTooLong is raised for more.
    ``embeddings`` are its model's, without which there are no soft prompts.

    A connection that is refused is tried once more; nothing that reached the server is ever sent again.
    """

    def __init__(
        self,
        base_url: str,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        context: int | None = None,
        embeddings: Embeddings | None = None,
    ) -> None:
        self._context, self._embeddings = context, embeddings
        # At every request httpcore asks each idle connection whether it still stands, so there are few.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=KEPT)
        self._client = httpx.AsyncClient(
            base_url=base_url,
            transport=transport or httpx.AsyncHTTPTransport(retries=1, limits=limits),
            timeout=TIMEOUT,
            # Conversations must not pass through a proxy that the environment names.
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._client.aclose()

    def generate(
        self,
        prompt: Sequence[int],
        *,
        model: str,
        sampling: Sampling,
        schema: Mapping[str, Any] | None = None,
        soft_prompt: SoftPrompt | None = None,
    ) -> AsyncGenerator[Delta, None]:
        """See `Engine.generate`. Closing the generator closes the HTTP stream, at which vLLM aborts the request."""
        return self._streamed(prompt, model, sampling, schema, soft_prompt, PIECE)

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
        # Streamed, so that a long reply does not run into the time allowed between two pieces.
        text, reason, usage = "", None, None
        async with aclosing(self._streamed(prompt, model, sampling, schema, soft_prompt, WHOLE)) as deltas:
            async for delta in deltas:
                text += delta.text
                reason, usage = delta.finish_reason or reason, delta.usage or usage
        if reason is None or usage is None:
            raise EngineError(f"The engine's answer lacks its end or its token counts; {VERSION}")
        return Completion(text, reason, usage)

    async def label_logprobs(
        self, prompt: Sequence[int], labels: Sequence[int], *, model: str, soft_prompt: SoftPrompt | None = None
    ) -> FloatArray:
        """See `Engine.label_logprobs`. ValueError unless there are 1 to `MAX_LABELS` labels, all different."""
        if not 0 < len(labels) <= MAX_LABELS or len(set(labels)) != len(labels):
            raise ValueError(f"label_logprobs takes 1 to {MAX_LABELS} different token ids, not {list(labels)}")
        sampling = Sampling(max_tokens=1)
        self._check_length(prompt, sampling, soft_prompt)
        body = {
            **await self._body(prompt, model, sampling, None, soft_prompt),
            # vLLM wants both; the ids decide what is returned.
            "logprobs": 1,
            "logprob_token_ids": list(labels),
            "return_tokens_as_token_ids": True,
        }
        answer = await self._json("POST", "/v1/completions", body)
        try:
            found = answer["choices"][0]["logprobs"]["top_logprobs"][0]
            values = np.array([found[f"token_id:{label}"] for label in labels], dtype=np.float64)
        except (KeyError, IndexError, TypeError) as missing:
            raise EngineError(f"The engine returned no log-probabilities for the labels; {VERSION}") from missing
        if not np.isfinite(values).all():
            raise EngineError("The engine returned log-probabilities that are not finite: check the model's weights.")
        normalised: FloatArray = values - np.logaddexp.reduce(values)
        return normalised

    async def models(self) -> list[str]:
        """See `Engine.models`."""
        answer = await self._json("GET", "/v1/models")
        return [str(model["id"]) for model in answer.get("data", ())]

    async def healthy(self) -> bool:
        """See `Engine.healthy`. Gives up after 5 s."""
        try:
            async with self._request("GET", "/health", patience=HEALTH_TIMEOUT):
                return True
        except EngineError:
            return False

    async def adapters(self) -> dict[str, Path]:
        """The adapters that the engine holds, by name, with the folder of each."""
        answer = await self._json("GET", "/v1/models")
        return {str(card["id"]): Path(card["root"]) for card in answer.get("data", ()) if card.get("parent")}

    async def load_adapter(self, name: str, folder: Path) -> None:
        """Has the engine load the LoRA in the absolute ``folder`` under a new ``name``.

        EngineRejected where the name is taken. For `assistant.engine.adapters`, which verifies first.
        """
        if not folder.is_absolute():
            raise ValueError(f"{folder} is no absolute path: vLLM would look for it on the hub")
        body = {"lora_name": name, "lora_path": str(folder)}
        async with self._request("POST", "/v1/load_lora_adapter", body, allowed=ADAPTERS):
            pass

    async def unload_adapter(self, name: str) -> None:
        """Has the engine forget the adapter ``name``; requests under way finish. EngineRejected where it holds none."""
        async with self._request("POST", "/v1/unload_lora_adapter", {"lora_name": name}, allowed=ADAPTERS):
            pass

    async def _streamed(
        self,
        prompt: Sequence[int],
        model: str,
        sampling: Sampling,
        schema: Mapping[str, Any] | None,
        soft_prompt: SoftPrompt | None,
        tokens: int,
    ) -> AsyncGenerator[Delta, None]:
        """A reply in pieces of as many ``tokens``."""
        self._check_length(prompt, sampling, soft_prompt)
        body = {
            **await self._body(prompt, model, sampling, schema, soft_prompt),
            "stream": True,
            "stream_options": {"include_usage": True},
            "stream_interval": tokens,
        }
        async with self._request("POST", "/v1/completions", body) as response, aclosing(events(response)) as answers:
            async for answer in answers:
                delta = piece(answer)
                yield delta if schema is None else replace(delta, text=delta.text.translate(_NO_CONTROLS))

    async def _body(
        self,
        prompt: Sequence[int],
        model: str,
        sampling: Sampling,
        schema: Mapping[str, Any] | None,
        soft_prompt: SoftPrompt | None,
    ) -> dict[str, Any]:
        body = _body(model, sampling, schema)
        if soft_prompt is None:
            return {**body, "prompt": list(prompt)}
        if self._embeddings is None:
            raise ValueError("this engine was opened without its model's embeddings, so it takes no soft prompts")
        return {**body, "prompt_embeds": await asyncio.to_thread(self._embeddings.encoded, soft_prompt, prompt)}

    def _check_length(self, prompt: Sequence[int], sampling: Sampling, soft_prompt: SoftPrompt | None) -> None:
        length = len(prompt) + sampling.max_tokens + (0 if soft_prompt is None else len(soft_prompt))
        if self._context is not None and length > self._context:
            message = f"The message comes to {length:,} tokens with its reply, and the model takes {self._context:,}."
            raise ContextTooLong(f"{message} Send a shorter message, or ask for fewer tokens.")

    async def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        async with self._request(method, path, body) as response:
            return parsed(await response.aread())

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        patience: httpx.Timeout = TIMEOUT,
        allowed: Routes = ALLOWED,
    ) -> AsyncIterator[httpx.Response]:
        """An answered request, its body not yet read; the one place that talks to the engine."""
        if (method, path) not in allowed:
            raise ValueError(f"{method} {path} is not among the routes of the engine that may be called")
        try:
            async with self._client.stream(method, path, json=body, timeout=patience) as response:
                if response.is_error:
                    raise refusal(response.status_code, await response.aread(), response.headers.get("retry-after"))
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise EngineUnavailable("The engine does not answer: it is starting or restarting. Try again.") from error
        except httpx.TimeoutException as error:
            silent = f"The engine sent nothing for {patience.read:.0f} s."
            raise EngineTimeout(f"{silent} Try again, or ask for less.") from error
        except httpx.HTTPError as error:
            raise EngineUnavailable("The engine broke off: it may be restarting. Try again.") from error


def _body(model: str, sampling: Sampling, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if schema is not None:
        # That no whitespace is written between the parts is the server's setting: see assistant.engine.command.
        body["structured_outputs"] = {"json": schema}
    elif sampling.pattern is not None:
        body["structured_outputs"] = {"regex": sampling.pattern}
    return body
