"""Lets a turn begin: the conversation's length, the caller's tokens and a place among the turns under way.

In this order nothing is done for a turn that is turned away: first a place or a seat, at once or not at all; then the
tokens are counted and taken; only then it waits.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import cast

import anyio
from anyio import to_thread
from starlette.requests import Request

from assistant.access.keyring import Caller
from assistant.api.access import Access
from assistant.api.deps import Serving
from assistant.api.turns import events
from assistant.dialogue.types import Done, Event, TurnRequest, Usage
from assistant.errors import ContextTooLong, SottoError

BYTES_A_TOKEN = 4


@dataclass
class Bill:
    """What a turn came to; None while nobody knows, and then what was taken for it stays taken."""

    usage: Usage | None = None


def estimated_tokens(text: str) -> int:
    """About the tokens of ``text``, for where the model's tokenizer is not at hand."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_A_TOKEN)


async def admitted(request: Request, serving: Serving, turn: TurnRequest) -> AsyncGenerator[Event | None]:
    """`assistant.api.turns.events` of ``turn``, from when it may begin.

    The first step raises ContextTooLong, RateLimited or Overloaded for a turn that may not.
    """
    texts = [message.content for message in turn.messages]
    async with (
        place(request, texts, turn.max_tokens) as bill,
        aclosing(events(serving.assistant, turn, serving.heartbeat)) as stream,
    ):
        async for event in stream:
            if isinstance(event, Done):
                bill.usage = event.usage
            yield event


@asynccontextmanager
async def place(request: Request, texts: Sequence[str], reply_tokens: int) -> AsyncIterator[Bill]:
    """A place for a turn about ``texts``, for as long as the block runs; raises as `admitted` does.

    Tokens of the texts and ``reply_tokens`` are taken from the caller's allowance; what the block writes on the bill
    takes their place. A turn that fails with a SottoError costs nothing.
    """
    access, caller = cast("Access", request.app.state.access), cast("Caller", request.state.caller)
    with access.turnstile.ticket(caller.id) as ticket:
        count = await to_thread.run_sync(lambda: sum(map(access.count, texts)))
        if count > (most := access.settings.conversation_tokens):
            message = f"The messages have {count:,} tokens, and {most:,} are read. Send fewer or shorter messages."
            raise ContextTooLong(message)
        share = await access.limiter.take(caller, "tokens", count + reply_tokens)
        if share is not None:
            request.state.shares.append(share)
            share.check()
        bill = Bill()
        try:
            await access.turnstile.turn(ticket)
            yield bill
        except SottoError:
            bill.usage = bill.usage or Usage()
            raise
        finally:
            if share is not None and bill.usage is not None:
                # The caller is often being cancelled, which must not cut this short.
                with anyio.CancelScope(shield=True):
                    await access.limiter.settle(share, bill.usage.prompt_tokens + bill.usage.completion_tokens)
