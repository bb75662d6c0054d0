"""Recommendation ids that say, to whoever holds the secret, which release and arm made them: nothing needs to be kept.

An id is 20 bytes and a keyed hash of them, in base64: the rollout, its step, the arm and group of callers, the minute
and 8 random bytes. It names no person and no item, and cannot be made up.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from assistant.errors import InvalidRequest

PREFIX = "rec_"
Role = Literal["live", "control", "canary", "shadow"]
"""What a release was to a reply: the only one, or an arm of a rollout."""

ROLES: tuple[Role, ...] = get_args(Role)
MOST_AGE_DAYS = 90
_FIELDS = struct.Struct(">BIBBBI8s")
_VERSION = 1
_MAC_BYTES = 12


@dataclass(frozen=True)
class Receipt:
    """Where a recommendation came from. ``rollout`` 0 is the base model before any; ``minute`` since the epoch."""

    rollout: int
    step: int
    role: Role
    bucket: int
    minute: int


class Receipts:
    """Writes and reads recommendation ids under one ``secret``, from which their own key is derived."""

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self._key = hashlib.blake2b(b"receipts", key=secret, digest_size=32).digest()
        self._clock = clock

    def write(self, rollout: int, step: int, role: Role, bucket: int) -> str:
        """A new id."""
        minute = int(self._clock() // 60)
        fields = _FIELDS.pack(_VERSION, rollout, step, ROLES.index(role), bucket, minute, secrets.token_bytes(8))
        return PREFIX + base64.urlsafe_b64encode(fields + self._mac(fields)).decode().rstrip("=")

    def read(self, identity: str) -> Receipt:
        """What an id says; InvalidRequest where no server with this secret wrote it, or too long ago."""
        fields = self._checked(identity)
        _, rollout, step, role, bucket, minute, _ = _FIELDS.unpack(fields)
        if minute < self._clock() // 60 - MOST_AGE_DAYS * 24 * 60:
            raise InvalidRequest(
                f"This recommendation is more than {MOST_AGE_DAYS} days old: verdicts are taken no longer.",
                "recommendation_id",
            )
        return Receipt(rollout, step, ROLES[role], bucket, minute)

    def digest(self, identity: str) -> str:
        """What an id is kept under: a keyed hash, 32 hexadecimal digits."""
        return hashlib.blake2b(identity.encode(), key=self._key, digest_size=16, person=b"feedback").hexdigest()

    def _checked(self, identity: str) -> bytes:
        text = identity.removeprefix(PREFIX)
        try:
            given = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError:
            given = b""
        fields, mac = given[: _FIELDS.size], given[_FIELDS.size :]
        # One spelling an id: base64 has several for the same bytes.
        known = PREFIX + base64.urlsafe_b64encode(given).decode().rstrip("=") == identity
        if len(fields) != _FIELDS.size or not known or not hmac.compare_digest(mac, self._mac(fields)):
            raise InvalidRequest(
                "This is no recommendation_id of this server: send the one that came with the reply.",
                "recommendation_id",
            )
        return fields

    def _mac(self, fields: bytes) -> bytes:
        return hashlib.blake2b(fields, key=self._key, digest_size=_MAC_BYTES).digest()
