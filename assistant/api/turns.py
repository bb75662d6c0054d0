"""Runs a turn for a client who may leave at any time, and whose connection must not look dead meanwhile.

The dialogue's iterator lives in one task from its first step to its close; however the client's side ends,
that task is cancelled and waited for, so that no generation outlives the one who asked for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import TypeVar, cast

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from assistant.api.deps import Assistant
from assistant.dialogue.types import Done, Event, TurnRequest

T = TypeVar("T")

# A slow reader holds the generation back once this many events wait for it.
_AHEAD = 64


async def events(assistant: Assistant, turn: TurnRequest, heartbeat: float) -> AsyncGenerator[Event | None]:
    """The events of ``turn``, and None after each ``heartbeat`` seconds without one.

    What the dialogue raises is raised here. Closing this closes the dialogue's iterator.
    """
    queue: asyncio.Queue[Event | Exception | None] = asyncio.Queue(_AHEAD)
    task = asyncio.create_task(_pump(assistant, turn, queue))
    try:
        while True:
            try:
                async with asyncio.timeout(heartbeat):
                    event = await queue.get()
            except TimeoutError:
                yield None
                continue
            if event is None:
                return
            if isinstance(event, Exception):
                raise event
            yield event
    finally:
        await _end(task)


class TurnStream(StreamingResponse):
    """Server-sent events: ``frames``, made from ``turn``. Both are closed however the answer ends.

    Starlette leaves that to the garbage collector when the client is lost before the first frame or during one.
    """

    def __init__(self, frames: AsyncGenerator[bytes], turn: AsyncGenerator[Event | None]) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(frames, media_type="text/event-stream", headers=headers)
        self._frames, self._turn = frames, turn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await self._frames.aclose()
                await self._turn.aclose()


async def unless_gone(request: Request, work: Coroutine[object, object, T]) -> T:
    """The result of ``work``; when the client leaves first, cancels it and raises ClientDisconnect."""
    task, watch = asyncio.create_task(work), asyncio.create_task(_left(request))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        await _end(task, watch)


async def _pump(assistant: Assistant, turn: TurnRequest, queue: asyncio.Queue[Event | Exception | None]) -> None:
    try:
        async with aclosing(cast("AsyncGenerator[Event]", assistant.stream(turn))) as stream:
            event: Event | None = None
            async for event in stream:
                await queue.put(event)
        if not isinstance(event, Done):
            raise RuntimeError("the dialogue ended without Done")
    except Exception as error:
        await queue.put(error)  # raised again where the events are read
    else:
        await queue.put(None)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Task[T] | asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    # The caller is often being cancelled itself, which must not cut the tidying short.
    with anyio.CancelScope(shield=True):
        await asyncio.wait(tasks)
