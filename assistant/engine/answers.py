"""Reads what vLLM answers: events of a stream, pieces of a reply, and what its refusals mean.

Knows nothing of requests.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import httpx

from assistant.dialogue.types import FinishReason, Usage
from assistant.errors import EngineError, EngineRejected, EngineUnavailable

__all__ = ["VERSION", "Delta", "events", "parsed", "piece", "refusal"]

VERSION = "check that it is vLLM 0.32."
"""What to do about an answer that vLLM should not give."""

_MESSAGE_LENGTH = 300
_SERVER_ERROR = 500


@dataclass(frozen=True)
class Delta:
    """A piece of a reply. One of the last carries ``finish_reason``, the very last ``usage``."""

    text: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


async def events(response: httpx.Response) -> AsyncGenerator[dict[str, Any], None]:
    """The JSON of each server-sent event; EngineUnavailable when the stream ends before ``[DONE]``.

    Splits at newlines only: httpx's own lines also break at U+2028 and U+0085, which vLLM sends unescaped.
    """
    rest = b""
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                return
            yield parsed(data)
    raise EngineUnavailable("The engine broke off in the middle of a reply: it may be restarting. Try again.")


def parsed(data: bytes) -> dict[str, Any]:
    """The JSON object that ``data`` is; EngineError where it is none, or tells of an error."""
    try:
        answer = json.loads(data)
    except ValueError as error:
        raise EngineError(f"The engine's answer is not JSON; {VERSION}") from error
    if not isinstance(answer, dict):
        raise EngineError(f"The engine's answer is not a JSON object; {VERSION}")
    if said := answer.get("error"):
        code = said.get("code") if isinstance(said, dict) else None
        raise refusal(code if isinstance(code, int) else _SERVER_ERROR, data, None)
    return answer


def piece(answer: dict[str, Any]) -> Delta:
    """The piece of a reply that an event is; EngineError where the engine gave up."""
    choice: dict[str, Any] = next(iter(answer.get("choices") or ()), {})
    reason = choice.get("finish_reason")
    if reason not in {None, "stop", "length"}:
        raise EngineError(f"The engine ended the reply early ({reason}). Try again; its log says why.")
    usage = answer.get("usage")
    return Delta(
        choice.get("text") or "",
        reason,
        None if usage is None else Usage(int(usage["prompt_tokens"]), int(usage["completion_tokens"])),
    )


def refusal(status: int, content: bytes, retry_after: str | None) -> EngineError:
    """The error that stands for an HTTP status of the engine."""
    try:
        said = str(json.loads(content)["error"]["message"]).partition("\n")[0][:_MESSAGE_LENGTH]
    except (ValueError, KeyError, TypeError):
        said = f"HTTP {status}"
    if status in {429, 503}:
        seconds = int(retry_after) if retry_after is not None and retry_after.isdigit() else 5
        return EngineUnavailable(f"The engine is busy or starting: {said}", seconds)
    if status >= _SERVER_ERROR:
        return EngineError(f"The engine failed: {said}. Its log says why.")
    return EngineRejected(f"The engine refused the request: {said}", status)
