"""Stand-ins for the encoder and the catalogue, and a handful of films."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from retrieval.catalogue import Facets
from retrieval.encoder import FloatArray, Progress
from retrieval.item import Item


class HashEncoder:
    """A vector is the normalised sum of a random direction for each longer word, so shared words mean likeness."""

    def __init__(self, dim: int = 256, digest: str = "hash-encoder") -> None:
        self.dim = dim
        self.digest = digest
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> FloatArray:
        self.encoded.extend(texts)
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w{4,}", text.lower()) or [""]:
                vectors[row] += self._direction(word)
            vectors[row] /= np.linalg.norm(vectors[row]) or 1.0
        if progress is not None:
            progress("encoding", len(texts), len(texts))
        return vectors

    def _direction(self, word: str) -> FloatArray:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        return np.random.default_rng(seed).standard_normal(self.dim).astype(np.float32)


class MemoryCatalogue:
    """The catalogue's interface over a dictionary."""

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self._items = {item.id: item for item in items}
        self.revision = 1

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return iter([self._items[item_id] for item_id in sorted(self._items)])

    def get(self, item_id: str) -> Item | None:
        return self._items.get(item_id)

    def many(self, ids: Iterable[str]) -> list[Item]:
        return [self._items[item_id] for item_id in ids if item_id in self._items]

    @property
    def digest(self) -> str:
        text = "\n".join(item.model_dump_json() for item in self)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def facets(self) -> Facets:
        def values(name: str) -> tuple[str, ...]:
            return tuple(sorted({value for item in self for value in getattr(item, name)}))

        kinds = tuple(sorted({item.kind for item in self}))
        return Facets(values("genres"), values("moods"), values("countries"), values("languages"), kinds)

    def put(self, items: Iterable[Item]) -> None:
        self._items.update((item.id, item) for item in items)
        self.revision += 1

    def remove(self, ids: Iterable[str]) -> None:
        for item_id in ids:
            self._items.pop(item_id, None)
        self.revision += 1
