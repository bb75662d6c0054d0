"""What a catalogue knows about itself without reading its items: how many, which facets, and a digest.

A tally grows and shrinks by one item at a time, so a catalogue of a million items changes by one at the price of one.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field

from retrieval.item import Item

FACET_FIELDS = ("genres", "moods", "countries", "languages", "kinds")
"""The facets that are counted, under the names `retrieval.catalogue.Facets` gives them."""

_HASH_BYTES = 256
_MODULUS = 1 << (8 * _HASH_BYTES)


@dataclass
class Tally:
    """Count, facet counts and the set hash of some items.

    The set hash is the sum of the items' hashes modulo 2^2048 (AdHash: Bellare and Micciancio, "A New Paradigm for
    Collision-Free Hashing", EUROCRYPT 1997), so it does not depend on order, and an item can be taken out again.
    The width keeps generalised birthday attacks out of reach.
    """

    count: int = 0
    total: int = 0
    facets: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def digest(self) -> str:
        """sha256 in hexadecimal over the count and the set hash."""
        return hashlib.sha256(self.count.to_bytes(8, "big") + self.packed).hexdigest()

    @property
    def packed(self) -> bytes:
        """The set hash, 256 bytes, big-endian."""
        return self.total.to_bytes(_HASH_BYTES, "big")

    def add(self, item: Item, body: str) -> None:
        """Counts ``item`` in. ``body`` is its JSON, the bytes the digest is about."""
        self.count += 1
        self.total = (self.total + _hash(body)) % _MODULUS
        self.facets.update(_facets(item))

    def drop(self, item: Item, body: str) -> None:
        """Counts ``item`` out; the inverse of `add`."""
        self.count -= 1
        self.total = (self.total - _hash(body)) % _MODULUS
        self.facets.subtract(_facets(item))

    def merge(self, other: Tally) -> None:
        """Counts in everything that ``other`` counted."""
        self.count += other.count
        self.total = (self.total + other.total) % _MODULUS
        self.facets.update(other.facets)


def _hash(body: str) -> int:
    return int.from_bytes(hashlib.shake_256(body.encode()).digest(_HASH_BYTES), "big")


def _facets(item: Item) -> set[tuple[str, str]]:
    values = (item.genres, item.moods, item.countries, item.languages, (item.kind,))
    return {(name, value) for name, group in zip(FACET_FIELDS, values, strict=True) for value in group}
