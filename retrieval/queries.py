"""Remembers the vectors of what was searched for last, so that a wish that comes again is not encoded again.

A conversation searches by much the same words turn after turn, and so do its relaxations. No words are kept: they are
known by a hash under a key of this process.
"""

from __future__ import annotations

import secrets
import threading
from hashlib import blake2b

from cachetools import LRUCache

from retrieval.encoder import Encoder, FloatArray

MOST = 4096
"""How many are remembered: 6 MB of vectors of 384 numbers."""


class QueryVectors:
    """Vectors by an encoder, float32 (dim,). Safe for concurrent use."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._key = secrets.token_bytes(32)
        self._known: LRUCache[bytes, FloatArray] = LRUCache(MOST)
        self._lock = threading.Lock()

    def of(self, words: str) -> FloatArray:
        """The vector of ``words``."""
        key = blake2b(words.encode(), key=self._key, digest_size=32).digest()
        with self._lock:
            known = self._known.get(key)
        if known is None:
            known = self._encoder.encode([words])[0]
            with self._lock:
                self._known[key] = known
        return known
