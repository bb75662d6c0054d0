"""Lets a request in, before anything of its body is read: its key, what the key is good for, and how often.

A plain ASGI middleware, so that no route can be forgotten: what is not named in `OPEN` needs a key once there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assistant.access import keys
from assistant.access.keyring import Caller, Keyring
from assistant.access.keys import KeyStore
from assistant.access.limiter import Limiter, Share
from assistant.access.loopback import is_loopback
from assistant.access.turnstile import Turnstile
from assistant.access.windows import SharedWindows, WindowStorage
from assistant.api.errors import problem_of
from assistant.errors import Forbidden, SottoError
from assistant.settings import Settings
from assistant.state.database import Database

OPEN = frozenset({"/", "/docs", "/openapi.json", "/healthz", "/readyz"})
OPEN_BELOW = "/static/"
SCOPES: tuple[tuple[str, keys.Scope], ...] = (
    ("/v1/chat/", "chat"),
    ("/v1/recommendations", "chat"),
    ("/v1/items", "items"),
    ("/v1/feedback", "feedback"),
    ("/metrics", "metrics"),
    ("/admin", "admin"),
)
"""What a key must be good for, by how the path begins; any key will do for the rest, which is ``/v1/models``."""

FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
"""Headers of a proxy: a request with one of them comes from elsewhere, whatever address it has here."""

CountTokens = Callable[[str], int]


@dataclass(frozen=True)
class Access:
    """What decides about requests and turns; ``count`` gives the tokens of a text."""

    settings: Settings
    database: Database
    keyring: Keyring
    limiter: Limiter
    turnstile: Turnstile
    count: CountTokens

    @classmethod
    def of(cls, settings: Settings, count: CountTokens) -> Self:
        """As ``settings`` say. Raises StateUnavailable."""
        database = Database.of(settings)
        return cls(
            settings,
            database,
            Keyring(KeyStore(database), settings),
            Limiter(SharedWindows(WindowStorage(database))),
            Turnstile(settings.turns_at_once, settings.turns_waiting, settings.waiting_seconds),
            count,
        )


class Gate:
    """The middleware. A request that passes has ``state["caller"]``, and its answer the ``x-ratelimit-*`` headers.

    Whoever takes another share of an allowance adds it with `note`.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(scope["path"]):
            await self.app(scope, receive, send)
            return
        state = scope["state"]
        shares: list[Share] = state.setdefault("shares", [])

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for share in shares:
                    headers.update(rate_headers(share))
            await send(message)

        try:
            state["caller"] = caller = await self._caller(scope)
            share = await self._access.limiter.take(caller, "requests")
            if share is not None:
                shares.append(share)
                share.check()
        except SottoError as error:
            await problem_of(error, state["request_id"]).response()(scope, receive, noting)
            return
        await self.app(scope, receive, noting)

    async def _caller(self, scope: Scope) -> Caller:
        headers = Headers(scope=scope)
        caller = await self._access.keyring.caller(_bearer(headers), local=_is_local(scope, headers))
        needed = scope_of(scope["path"])
        if needed is not None and needed not in caller.scopes:
            lacks = "A key" if caller.id == "anonymous" else f"The API key {caller.id} lacks it; one that has it"
            raise Forbidden(
                f"This takes the scope {needed}. {lacks} is made with `sotto keys create NAME --scope {needed}`.",
                needed,
            )
        return caller


def scope_of(path: str) -> keys.Scope | None:
    """What a key must be good for to reach ``path``; None where any key will do."""
    return next((needed for prefix, needed in SCOPES if path.startswith(prefix)), None)


def rate_headers(share: Share) -> dict[str, str]:
    """How a client is told, in OpenAI's names, what it has left."""
    return {
        f"x-ratelimit-limit-{share.kind}": str(share.limit),
        f"x-ratelimit-remaining-{share.kind}": str(share.taken.remaining),
        f"x-ratelimit-reset-{share.kind}": duration(share.taken.reset),
    }


def duration(seconds: float) -> str:
    """Seconds as OpenAI writes them: ``6m0s``, ``1s``, ``17ms``."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _is_open(path: str) -> bool:
    return path in OPEN or path.startswith(OPEN_BELOW)


def _bearer(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _is_local(scope: Scope, headers: Headers) -> bool:
    client = scope.get("client")
    return client is not None and is_loopback(client[0]) and not any(name in headers for name in FORWARDED)
