"""API keys: how they are made, kept, listed, rotated and revoked.

A key is ``sk-sotto-ID-SECRET``: a public id of 12 hexadecimal digits, by which it is listed, logged and revoked, and
a secret of 256 random bits. The database holds the SHA-256 of the whole; a hash made for passwords would be slower
and add nothing, as nobody guesses 256 bits. The key itself is seen once, by whoever made it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import delete, select

from assistant.errors import InvalidRequest, NotFound
from assistant.state.database import Database
from assistant.state.models import ApiKey

Scope = Literal["chat", "items", "feedback", "metrics", "admin"]
SCOPES: frozenset[Scope] = frozenset(get_args(Scope))
USUAL_SCOPES: frozenset[Scope] = frozenset({"chat", "items", "feedback"})
"""What a key is good for unless told otherwise: all that a person's or an application's conversation needs."""

HOUR = 3600
MOST_NAME = 100
State = Literal["active", "expired", "revoked"]
Clock = Callable[[], float]

_KEY = re.compile(r"sk-sotto-([0-9a-f]{12})-[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Key:
    """What is known of a key. Times are seconds since the epoch; rates that are None are the server's own."""

    id: str
    name: str
    scopes: frozenset[Scope]
    created_at: int
    digest: str
    previous_digest: str | None = None
    previous_until: int | None = None
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used_at: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    def state(self, now: float) -> State:
        """Whether it is good at ``now``, and why not."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"

    def digests(self, now: float) -> tuple[str, ...]:
        """Those of the secrets that are good at ``now``, besides what `state` says."""
        if self.previous_digest is None or self.previous_until is None or self.previous_until <= now:
            return (self.digest,)
        return (self.digest, self.previous_digest)


@dataclass(frozen=True)
class Issued:
    """A key with its secret, ``token``: the only time that it is seen."""

    key: Key
    token: str


def digest_of(token: str) -> str:
    """The SHA-256 of a whole key, in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def id_of(token: str) -> str | None:
    """The public id in ``token``, or None where it does not have a key's form."""
    match = _KEY.fullmatch(token)
    return match[1] if match else None


class KeyStore:
    """The keys in a database. ``clock`` gives seconds since the epoch."""

    def __init__(self, database: Database, clock: Clock = time.time) -> None:
        self._database, self._clock = database, clock

    def create(
        self,
        name: str,
        scopes: Iterable[str] = USUAL_SCOPES,
        *,
        lifetime: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> Issued:
        """A new key that ends after ``lifetime`` seconds, or never. InvalidRequest names what cannot be."""
        if not name.strip() or len(name) > MOST_NAME or not name.isprintable():
            raise InvalidRequest(f"A key's name has 1 to {MOST_NAME} printable characters.", "name")
        wanted = frozenset(scopes)
        if not wanted or not wanted <= SCOPES:
            strange = ", ".join(sorted(wanted - SCOPES)) or "none"
            raise InvalidRequest(f"There is no scope {strange}: choose of {', '.join(sorted(SCOPES))}.", "scopes")
        key_id, now = secrets.token_hex(6), int(self._clock())
        token = _token(key_id)
        row = ApiKey(
            id=key_id,
            name=name,
            digest=digest_of(token),
            scopes=" ".join(sorted(wanted)),
            created_at=now,
            expires_at=None if lifetime is None else now + lifetime,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        )
        with self._database.write() as session:
            session.add(row)
            session.flush()
            return Issued(_key(row), token)

    def all(self) -> list[Key]:
        """Every key, the oldest first, those that are no longer good among them."""
        with self._database.read() as session:
            return [_key(row) for row in session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id))]

    def rotate(self, key_id: str, grace: int) -> Issued:
        """A new secret for a key; the one before stays good for ``grace`` seconds, any other not at all."""
        with self._database.write() as session:
            row, now = _row(session.get(ApiKey, key_id, with_for_update=True), key_id), self._clock()
            if (state := _key(row).state(now)) != "active":
                raise InvalidRequest(f"The key {key_id} is {state}; make another with `sotto keys create`.", "id")
            token = _token(key_id)
            row.previous_digest, row.previous_until = row.digest, int(now) + grace
            row.digest = digest_of(token)
            return Issued(_key(row), token)

    def revoke(self, key_id: str) -> Key:
        """Ends a key for good; it stays in the list."""
        with self._database.write() as session:
            row = _row(session.get(ApiKey, key_id, with_for_update=True), key_id)
            row.revoked_at = row.revoked_at or int(self._clock())
            return _key(row)

    def forget(self, key_id: str) -> None:
        """Removes a key from the list too."""
        with self._database.write() as session:
            session.execute(delete(ApiKey).where(ApiKey.id == key_id))

    def touch(self, key_id: str) -> None:
        """Notes that a key was used, to the hour."""
        hour = int(self._clock()) // HOUR * HOUR
        with self._database.write() as session:
            row = session.get(ApiKey, key_id, with_for_update=True)
            if row is not None:
                row.last_used_at = max(hour, row.last_used_at or 0)


def _token(key_id: str) -> str:
    return f"sk-sotto-{key_id}-{secrets.token_urlsafe(32)}"


def _row(found: ApiKey | None, key_id: str) -> ApiKey:
    if found is None:
        raise NotFound(f"There is no key {key_id}; `sotto keys list` shows them.")
    return found


def _key(row: ApiKey) -> Key:
    # A scope that a newer version gave out means nothing here, and opens nothing.
    scopes: frozenset[Scope] = SCOPES.intersection(row.scopes.split())
    fields = ("id", "name", "created_at", "digest", "previous_digest", "previous_until", "expires_at", "revoked_at")
    rates = ("last_used_at", "requests_per_minute", "tokens_per_minute")
    return Key(scopes=scopes, **{name: getattr(row, name) for name in (*fields, *rates)})
