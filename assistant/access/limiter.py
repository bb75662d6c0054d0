"""What each caller may use in a minute: requests, and tokens of prompts and replies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from anyio import to_thread
from limits import RateLimitItemPerMinute

from assistant.access.keyring import Caller
from assistant.access.windows import SharedWindows, Taken
from assistant.errors import RateLimited

Kind = Literal["requests", "tokens"]


@dataclass(frozen=True)
class Share:
    """What a caller was given of its ``limit`` a minute; see `Taken`."""

    kind: Kind
    limit: int
    taken: Taken

    def check(self) -> None:
        """RateLimited where there was not enough left."""
        if self.taken.entry is not None:
            return
        limit = f"{self.limit:,} {self.kind} a minute"
        if math.isinf(self.taken.wait):
            raise RateLimited(f"This request alone takes more than {limit}, your limit. Ask for less.", None)
        seconds = max(1, math.ceil(self.taken.wait))
        raise RateLimited(f"You have used up {limit}. Try again in {seconds} s.", seconds)


class Limiter:
    """Takes from the callers' windows, without holding up the event loop."""

    def __init__(self, windows: SharedWindows) -> None:
        self._windows = windows

    async def take(self, caller: Caller, kind: Kind, cost: int = 1) -> Share | None:
        """A share of the caller's window, given or not; None where the caller has no limit."""
        limit = caller.requests_per_minute if kind == "requests" else caller.tokens_per_minute
        if not limit:
            return None
        item = RateLimitItemPerMinute(limit, namespace=kind)
        return Share(kind, limit, await to_thread.run_sync(lambda: self._windows.take(item, caller.id, cost=cost)))

    async def settle(self, share: Share, cost: int) -> None:
        """Puts what a request came to in the place of what was taken for it."""
        if share.taken.entry is not None:
            await to_thread.run_sync(self._windows.settle, share.taken.entry, cost)
