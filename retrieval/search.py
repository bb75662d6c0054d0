"""The library: catalogue, encoder, index and linker together, searched by a wish."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from retrieval.ann import BoolArray, FloatArray, IntArray
from retrieval.bundled import open_catalogue
from retrieval.encoder import Encoder, Progress, TextEncoder, item_text
from retrieval.index import VectorIndex, VectorSearch
from retrieval.item import Item
from retrieval.linker import Linker
from retrieval.mmr import diversify, series_name
from retrieval.queries import QueryVectors
from retrieval.relax import relax
from retrieval.scoring import Query, Weights, components, kinship, query_text, total
from retrieval.upkeep import ItemStore, WantedKind, prepare, stamp
from retrieval.vocabulary import in_own_words
from retrieval.wish import Wish

INDEX_PATH = Path("catalogue") / "index"
"""Where the index is within the folder of all state."""

POOL = 5
"""Candidates that MMR chooses from, for each one wanted."""

_LEAST_POOL = 60
_LIKED_ASKED = 8


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item that fits a wish. ``why`` holds the parts of ``score``, which is their sum; see `retrieval.scoring`."""

    item: Item
    score: float
    why: dict[str, float]


class Library:
    """Everything retrieval knows. Made by `open`; may be shared between threads."""

    def __init__(
        self,
        catalogue: ItemStore,
        encoder: Encoder,
        folder: Path,
        *,
        kind: WantedKind = "auto",
        search_with: Callable[[VectorIndex], VectorSearch] = lambda index: index,
        weights: Weights | None = None,
        progress: Progress | None = None,
    ) -> None:
        """``folder`` is the index's. ``search_with`` puts another nearest-neighbour search in FAISS's place."""
        self.catalogue = catalogue
        self.encoder = encoder
        self.folder = folder
        self.kind = kind
        self.weights = weights or Weights()
        self._search_with = search_with
        self._queries = QueryVectors(encoder)
        self._lock = threading.RLock()
        self._linker: Linker | None = None
        self.index, self.columns = prepare(catalogue, encoder, folder, kind, progress)
        self._nearest = search_with(self.index)

    @classmethod
    def open(
        cls,
        home: Path,
        encoder: Encoder | None = None,
        progress: Progress | None = None,
        *,
        kind: WantedKind = "auto",
        search_with: Callable[[VectorIndex], VectorSearch] = lambda index: index,
    ) -> Self:
        """The library within ``home``; a catalogue or index that is missing is made.

        An index of another encoder is built anew, one of an earlier state of the catalogue is brought up to date by
        encoding what changed. ``progress`` is told of every long step.
        """
        home = home.expanduser()
        return cls(
            open_catalogue(home),
            encoder or TextEncoder(),
            home / INDEX_PATH,
            kind=kind,
            search_with=search_with,
            progress=progress,
        )

    @property
    def linker(self) -> Linker:
        """Links titles and people of this catalogue in free text; built on first use."""
        with self._lock:
            if self._linker is None:
                self._linker = Linker(self.catalogue)
            return self._linker

    def refresh(self, progress: Progress | None = None) -> bool:
        """Takes in changes that another process made to the catalogue; says whether there were any."""
        with self._lock:
            if self.index.catalogue_digest == self.catalogue.digest:
                return False
            self.index, self.columns = prepare(self.catalogue, self.encoder, self.folder, self.kind, progress)
            self._nearest = self._search_with(self.index)
            self._linker = None
            return True

    def put(self, items: Sequence[Item]) -> None:
        """Adds items, or replaces those of the same ids, in catalogue and index, without a rebuild."""
        items = list({item.id: item for item in items}.values())
        texts = [item_text(item) for item in items]
        vectors = self.encoder.encode(texts)
        with self._lock:
            self.refresh()
            self.catalogue.put(items)
            self._drop(item.id for item in items)
            self.index.add([item.id for item in items], vectors, np.array([stamp(text) for text in texts], np.uint64))
            for item in items:
                self.columns.put(self._row(item.id), item)
                if self._linker is not None:
                    self._linker.add(item)
            self._save()

    def remove(self, ids: Sequence[str]) -> None:
        """Removes items from catalogue and index."""
        with self._lock:
            self.refresh()
            self.catalogue.remove(ids)
            self._drop(ids)
            self.index.remove(ids)
            for item_id in ids:
                if self._linker is not None:
                    self._linker.remove(item_id)
            self._save()

    def search(
        self,
        wish: Wish,
        text: str = "",
        k: int = 20,
        seed_exclude: Collection[str] = (),
        *,
        varied: bool = True,
    ) -> list[Candidate]:
        """At most ``k`` items that meet every hard constraint of ``wish``, best and varied first.

        ``text`` is free text to search by besides the wish's topic. What the wish likes, dislikes or has seen is never
        among them, nor is ``seed_exclude``. Without ``varied`` they are in the order of their scores alone.
        """
        words = query_text(wish, text)
        vector = self._queries.of(words) if words else None
        with self._lock:
            mask = self._allowed(wish, seed_exclude)
            if k < 1 or not mask.any():
                return []
            spoken = bool(wish.about or text.strip())
            query = Query(vector, spoken, self._vectors_of(wish.like), self._vectors_of(wish.dislike))
            rows = self._candidates(query, mask, max(POOL * k, _LEAST_POOL))
            vectors = self.index.vectors(rows)
            parts = components(wish, query, rows, vectors, self.columns, self.weights)
            return self._best(wish, rows, vectors, parts, k, varied=varied)

    def find(self, text: str, wish: Wish, k: int) -> list[Candidate]:
        """At most ``k`` items for words typed into a search box, under the hard constraints of ``wish``.

        Those whose titles ``text`` names come first, then those of the people it names, then what is near it.
        """
        mentions = self.linker.link(text)
        titles = {item_id for mention in mentions if mention.kind == "title" for item_id in mention.ids}
        people = tuple(mention.name for mention in mentions if mention.kind == "person")
        found = self.search(wish, text, k, varied=False)
        if people and not wish.people:
            found = [*self.search(wish.model_copy(update={"people": people}), text, k, varied=False), *found]
        once = {candidate.item.id: candidate for candidate in found}
        return sorted(once.values(), key=lambda candidate: candidate.item.id not in titles)[:k]

    def meant(self, wish: Wish) -> Wish:
        """``wish``, which a client wrote, in the catalogue's own words."""
        with self._lock:
            return in_own_words(wish, self.columns.held, self._name_of)

    def _name_of(self, part: str) -> str:
        match self.linker.link(part):
            case [mention] if mention.kind == "person":
                return mention.name
        return part

    def search_relaxed(
        self, wish: Wish, text: str = "", k: int = 20, seed_exclude: Collection[str] = ()
    ) -> tuple[list[Candidate], tuple[str, ...]]:
        """As `search`; when nothing fits, by the nearest relaxation that something fits, with what it gives up."""
        if found := self.search(wish, text, k, seed_exclude):
            return found, ()
        for given_up, wider in relax(wish):
            with self._lock:
                fits = self._allowed(wider, seed_exclude).any()
            if fits and (found := self.search(wider, text, k, seed_exclude)):
                return found, given_up
        return [], ()

    def _allowed(self, wish: Wish, excluded: Collection[str]) -> BoolArray:
        mask = self.columns.mask(wish, self.index.alive)
        for item_id in (*wish.like, *wish.dislike, *wish.seen, *excluded):
            if (row := self.index.row(item_id)) is not None:
                mask[row] = False
        return mask

    def _vectors_of(self, ids: Iterable[str]) -> FloatArray:
        rows = [row for item_id in ids if (row := self.index.row(item_id)) is not None]
        return self.index.vectors(rows)

    def _candidates(self, query: Query, mask: BoolArray, pool: int) -> IntArray:
        """Rows near the words or a liked item, and the best known ones, each once, rising."""
        words = [] if query.words is None else [query.words[None]]
        queries = np.concatenate([*words, query.liked[-_LIKED_ASKED:]])
        found = [self.columns.famous(mask, pool)]
        if len(queries):
            near, _ = self._nearest.search(queries, pool, mask)
            found.append(near[near >= 0])
        return np.unique(np.concatenate(found))

    def _best(
        self, wish: Wish, rows: IntArray, vectors: FloatArray, parts: dict[str, FloatArray], k: int, *, varied: bool
    ) -> list[Candidate]:
        """The ``k`` candidates to return, of the rows with the best scores so far."""
        scores = total(parts)
        # What the liked ones share, and variety, may bring up items from behind the first k.
        pool_size = max(POOL * k, _LEAST_POOL) if varied or wish.like else k
        best = np.lexsort((rows, -scores))[:pool_size]
        items = {item.id: item for item in self.catalogue.many(self.index.ids[row] for row in rows[best])}
        best = np.array([place for place in best if self.index.ids[rows[place]] in items], dtype=np.int64)
        pool = [items[self.index.ids[rows[place]]] for place in best]
        shares = {name: part[best] for name, part in parts.items()}
        if liked := self.catalogue.many(wish.like[-_LIKED_ASKED:]):
            shares["kin"] = self.weights.kin * np.array([kinship(item, liked) for item in pool], dtype=np.float32)
        scores = total(shares)
        series = [series_name(item.title) for item in pool]
        order = diversify(scores, vectors[best], series, k) if varied else np.argsort(-scores, kind="stable")[:k]
        return [
            Candidate(pool[place], float(scores[place]), {name: float(share[place]) for name, share in shares.items()})
            for place in order
        ]

    def _drop(self, ids: Iterable[str]) -> None:
        rows = (self.index.row(item_id) for item_id in ids)
        self.columns.drop(np.array([row for row in rows if row is not None], dtype=np.int64))

    def _row(self, item_id: str) -> int:
        row = self.index.row(item_id)
        if row is None:
            raise KeyError(f"{item_id} is not in the index; call refresh()")
        return row

    def _save(self) -> None:
        self.index.catalogue_digest = self.catalogue.digest
        self.index.save(self.folder)
