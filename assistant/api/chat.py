"""POST /v1/chat/completions: one turn of conversation, whole or as a stream of server-sent events.

Nothing here keeps or logs what was said.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import orjson
from fastapi import APIRouter, Request
from pydantic import BaseModel

from assistant.api import examples, tools
from assistant.api.deps import MODEL, ServingDep
from assistant.api.errors import problem_of
from assistant.api.models import known_model
from assistant.api.replay import replay
from assistant.api.schemas import (
    MAX_REPLY_TOKENS,
    ChatCompletion,
    ChatRequest,
    Choice,
    Grounding,
    Message,
    ReplyMessage,
    TokenUsage,
)
from assistant.api.tools import ToolCall, ToolMode
from assistant.api.turns import TurnStream, unless_gone
from assistant.api.voices import answered
from assistant.dialogue.types import ChatMessage, Done, Event, Plan, Text, TurnRequest

router = APIRouter(tags=["chat"])

_STREAMED = {
    "description": "The reply. With `stream: true`, server-sent events of `chat.completion.chunk` objects.",
    "content": {
        "application/json": {"example": examples.COMPLETION},
        "text/event-stream": {"schema": {"type": "string"}, "example": examples.STREAM},
    },
}
_HEARTBEAT = b": waiting\n\n"
_END = b"data: [DONE]\n\n"


@router.post(
    "/v1/chat/completions",
    summary="Answer a conversation",
    response_model=ChatCompletion,
    responses={200: _STREAMED},
)
async def create_chat_completion(body: ChatRequest, request: Request, serving: ServingDep) -> Any:
    """Answers the conversation's last message with a reply and recommendations.

    Send the whole conversation each time, and the `wish` of the last answer with it: the server keeps neither.
    """
    known_model(body.model)
    if body.messages[-1].role == "tool":
        stream = replay(body.messages)
    else:
        turn = turn_request(body)
        spoken = answered(request, serving, turn, user=body.user, cohort=body.cohort, personal=body.soft_prompt)
        stream = serving.metrics.watched(spoken)
    if not body.stream:
        return await unless_gone(request, _whole(stream, body))
    # What goes wrong before the first event is an ordinary error with its own status.
    first = await unless_gone(request, _next(stream))
    frames = _frames(first, stream, _Chunks(body), request.state.request_id)
    return TurnStream(frames, stream)


def turn_request(body: ChatRequest) -> TurnRequest:
    """The turn that ``body`` asks for; what it leaves out has the dialogue's own defaults."""
    limit = body.max_completion_tokens or body.max_tokens
    given = {
        "wish": body.wish,
        "max_tokens": None if limit is None else min(limit, MAX_REPLY_TOKENS),
        "temperature": body.temperature,
        "top_p": body.top_p,
        "seed": body.seed,
        "stop": body.stop,
    }
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return TurnRequest(messages=_conversation(body.messages), model=body.model, **chosen)


def _conversation(messages: list[Message]) -> tuple[ChatMessage, ...]:
    """What people and the assistant said: results of tools and messages that only call tools are left out."""
    roles = {"developer": "system"}
    said = (message for message in messages if message.role != "tool" and message.content.strip())
    return tuple(ChatMessage(roles.get(message.role, message.role), message.content) for message in said)


async def _whole(stream: AsyncGenerator[Event | None], body: ChatRequest) -> ChatCompletion:
    plan, done, pieces = None, None, []
    async with aclosing(stream):
        async for event in stream:
            match event:
                case Plan():
                    plan = event
                case Text():
                    pieces.append(event.text)
                case Done():
                    done = event
    if plan is None or done is None:
        raise RuntimeError("the dialogue ended without a plan or an end")
    additions = _additions(plan)
    call = _call(plan, body.calls)
    message = ReplyMessage(content="".join(pieces), tool_calls=None if call is None else (call,), **additions)
    return ChatCompletion(
        id=_completion_id(),
        created=int(time.time()),
        model=MODEL,
        choices=(Choice(message=message, finish_reason=_finish_reason(done, call)),),
        usage=TokenUsage.of(done.usage),
        **additions,
        **_asked(done, body),
    )


async def _frames(
    first: Event | None, stream: AsyncGenerator[Event | None], chunks: _Chunks, request_id: str
) -> AsyncGenerator[bytes]:
    """The bytes, beginning with the event ``first``. A later error is a frame of its own, with the request's id."""
    async with aclosing(stream):
        try:
            for frame in chunks.of(first):
                yield frame
            async for event in stream:
                for frame in chunks.of(event):
                    yield frame
        except Exception as error:  # the status is sent, so the stream is all that is left to say it in
            problem = problem_of(error, request_id)
            yield _frame({**problem.body(), "request_id": request_id})
        yield _END


async def _next(stream: AsyncGenerator[Event | None]) -> Event | None:
    return await anext(stream)


class _Chunks:
    """Writes a turn's events as the frames of the completion that ``body`` asked for."""

    def __init__(self, body: ChatRequest) -> None:
        self._body = body
        self._call: ToolCall | None = None
        include_usage = body.stream_options is not None and body.stream_options.include_usage
        self._usage = {"usage": None} if include_usage else {}
        self._head = {
            "id": _completion_id(),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": MODEL,
        }

    def of(self, event: Event | None) -> list[bytes]:
        """The frames for one event; None is a heartbeat."""
        match event:
            case Plan():
                extra = Grounding(**_additions(event)).model_dump(mode="json")
                self._call = _call(event, self._body.calls)
                return [self._chunk({"role": "assistant", "content": ""}), self._chunk(extra, extra=extra)]
            case Text():
                return [self._chunk({"content": event.text})]
            case Done():
                called = [] if self._call is None else [{"index": 0, **self._call.model_dump()}]
                frames = [self._chunk({"tool_calls": called})] if called else []
                reason = _finish_reason(event, self._call)
                asked = {name: one.model_dump(mode="json") for name, one in _asked(event, self._body).items()}
                if not self._usage:
                    return [*frames, self._chunk({}, finish_reason=reason, extra=asked)]
                usage = TokenUsage.of(event.usage).model_dump()
                last = _frame({**self._head, **asked, "choices": [], "usage": usage})
                return [*frames, self._chunk({}, finish_reason=reason), last]
            case None:
                return [_HEARTBEAT]

    def _chunk(
        self, delta: dict[str, Any], *, finish_reason: str | None = None, extra: dict[str, Any] | None = None
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _frame({**self._head, **(extra or {}), "choices": [choice], **self._usage})


def _additions(plan: Plan) -> dict[str, Any]:
    return {
        "recommendations": plan.recommendations,
        "adapter": plan.adapter,
        "recommendation_id": plan.recommendation_id,
        "wish": plan.wish,
    }


def _asked(done: Done, body: ChatRequest) -> dict[str, BaseModel]:
    """What ``body`` asks to be told at the end, of what there is."""
    told = {"trace": done.trace if body.trace else None, "lesson": done.lesson if body.lesson else None}
    return {name: one for name, one in told.items() if one is not None}


def _call(plan: Plan, calls: ToolMode) -> ToolCall | None:
    if calls == "required" or (calls == "auto" and plan.recommendations):
        return tools.call(Grounding(**_additions(plan)))
    return None


def _finish_reason(done: Done, call: ToolCall | None) -> str:
    return "tool_calls" if call is not None and done.finish_reason == "stop" else done.finish_reason


def _frame(data: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


def _completion_id() -> str:
    return f"chatcmpl-{uuid4().hex}"
