"""Tells callers apart by the keys they send.

The keys are read from the database once every `FRESH_SECONDS`, and no request asks for more than that: so a wrong key
costs no query, and a key that is revoked by another process is refused here within that time. Where they cannot be
read again nobody is let in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hmac import compare_digest

from anyio import to_thread

from assistant.access.keys import HOUR, USUAL_SCOPES, Clock, Key, KeyStore, Scope, digest_of, id_of
from assistant.errors import Unauthenticated
from assistant.settings import Settings

FRESH_SECONDS = 2.0
ANONYMOUS_SCOPES: frozenset[Scope] = USUAL_SCOPES | {"metrics"}
"""What a caller on this machine may do while there are no keys. ``admin`` is not among it: that needs a key always."""

_HOW = "Make one with `sotto keys create NAME` on the server, and send it as `Authorization: Bearer KEY`."


@dataclass(frozen=True)
class Caller:
    """Who asks: the id of a key, or ``anonymous``. Rates are for a minute; 0 is no limit."""

    id: str
    scopes: frozenset[Scope]
    requests_per_minute: int
    tokens_per_minute: int


class Keyring:
    """The keys of one running server. ``clock`` gives seconds since the epoch."""

    def __init__(self, store: KeyStore, settings: Settings, clock: Clock = time.time) -> None:
        self._store, self._settings, self._clock = store, settings, clock
        self._keys: Mapping[str, Key] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def caller(self, token: str | None, *, local: bool) -> Caller:
        """Who sent ``token``; ``local`` says that the request comes from this very machine.

        Raises Unauthenticated, and StateUnavailable when the keys cannot be read.
        """
        keys = await self._current()
        if not keys:
            return self._anonymous(local=local)
        if not token:
            raise Unauthenticated(f"This server answers to API keys only. {_HOW}", "missing_api_key")
        key, now = self._good(keys, token), self._clock()
        if (key.last_used_at or 0) <= now - HOUR:
            await to_thread.run_sync(self._store.touch, key.id)
            self._read_at = float("-inf")
        return Caller(
            key.id,
            key.scopes,
            _or(key.requests_per_minute, self._settings.requests_per_minute),
            _or(key.tokens_per_minute, self._settings.tokens_per_minute),
        )

    def _good(self, keys: Mapping[str, Key], token: str) -> Key:
        digest, now = digest_of(token), self._clock()
        key = keys.get(id_of(token) or "")
        # Compared in constant time; that an id exists is no secret.
        good = key is not None and any(compare_digest(digest, known) for known in key.digests(now))
        if key is None or not good:
            raise Unauthenticated(f"The API key is wrong, or its secret was replaced. {_HOW}", "invalid_api_key")
        if (state := key.state(now)) != "active":
            raise Unauthenticated(f"The API key {key.id} is {state}. {_HOW}", f"{state}_api_key")
        return key

    def _anonymous(self, *, local: bool) -> Caller:
        if not local:
            raise Unauthenticated(f"Without a key this server answers to its own machine only. {_HOW}", "no_keys_yet")
        limits = self._settings.anonymous_requests_per_minute, self._settings.anonymous_tokens_per_minute
        return Caller("anonymous", ANONYMOUS_SCOPES, *limits)

    async def _current(self) -> Mapping[str, Key]:
        if self._stale():
            async with self._reading:
                if self._stale():
                    began = time.monotonic()
                    self._keys = {key.id: key for key in await to_thread.run_sync(self._store.all)}
                    self._read_at = began
        return self._keys

    def _stale(self) -> bool:
        return time.monotonic() - self._read_at >= FRESH_SECONDS


def _or(own: int | None, usual: int) -> int:
    return usual if own is None else own
