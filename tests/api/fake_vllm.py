"""Stands in for vLLM behind the real gateway and dialogue: answers completions, and keeps what it was sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from assistant.dialogue.turn import Assistant
from assistant.engine.gateway import VllmEngine
from retrieval.search import Library
from tests.dialogue.fakes import CharTokenizer
from tests.retrieval.fakes import HashEncoder, MemoryCatalogue
from tests.retrieval.films import FILMS

EDIT = '{"act":"find","genres":["horror"]}'
REPLY = "Start with [1]. "
USAGE = {"prompt_tokens": 30, "completion_tokens": 10, "total_tokens": 40}


@dataclass
class FakeVllm:
    """``breaks`` ends a reply in its middle, as a killed server does."""

    requests: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    breaks: bool = False

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self.answer, methods=["GET", "POST", "PUT", "DELETE"])])

    async def answer(self, request: Request) -> Response:
        body = json.loads(await request.body() or b"{}")
        self.requests.append((request.method, request.url.path, body))
        if "logprob_token_ids" in body:
            found = {f"token_id:{label}": -1.0 for label in body["logprob_token_ids"]}
            return JSONResponse({"choices": [{"logprobs": {"top_logprobs": [found]}}], "usage": USAGE})
        if request.url.path == "/v1/completions":
            text = EDIT if "json" in body.get("structured_outputs", {}) else REPLY
            return StreamingResponse(self._events(text), media_type="text/event-stream")
        return JSONResponse({"data": [{"id": "sotto"}]})

    async def _events(self, text: str) -> AsyncIterator[str]:
        choice = {"index": 0, "text": text, "finish_reason": None}
        yield _event({"choices": [choice]})
        if self.breaks and text == REPLY:
            return
        yield _event({"choices": [{**choice, "text": "", "finish_reason": "stop"}]})
        yield _event({"choices": [], "usage": USAGE})
        yield "data: [DONE]\n\n"


def library(folder: Path) -> Library:
    """A few films, with their index in ``folder``."""
    return Library(MemoryCatalogue(FILMS), HashEncoder(), folder)


def dialogue(engine: VllmEngine, films: Library) -> Assistant:
    """The real dialogue over ``engine``."""
    return Assistant(films, engine, CharTokenizer())


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"
