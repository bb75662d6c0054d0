"""The vector index: unit vectors of catalogue items, found by inner product.

An index has two parts. The main part is what `VectorIndex.build` made: its arrays and its FAISS structure never
change and may lie memory-mapped on disk. The tail holds what was added since and is searched exactly. An item's
row number is its place in main and tail together; a changed item gets a new row and its old one is dead, so
rows are never reused and a mask over the rows stays valid. `needs_rebuild` says when the tail has grown
too long. Where an index lives on disk is `retrieval.index_files`' business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt

from retrieval import ann
from retrieval.ann import BoolArray, FloatArray, IntArray, Kind
from retrieval.encoder import Progress

StampArray = npt.NDArray[np.uint64]

EXACT_BELOW = 1_000
"""A filter that leaves no more rows than this is answered exactly."""

EXACT_SHARE = 1 / 64
"""So is one that leaves a smaller part of them: to fetch a full vector takes about as long as to pass over 64 codes."""

_TAIL_MOST = 5_000
_CHUNK = 512  # vectors that stay in a processor's cache between being fetched and being multiplied


class VectorSearch(Protocol):
    """What `retrieval.search` needs of a nearest-neighbour search, FAISS or another."""

    def search(self, queries: FloatArray, k: int, allowed: BoolArray | None = None) -> tuple[IntArray, FloatArray]:
        """The best ``k`` rows for each of ``queries``, float32 (n, dim), among those the mask ``allowed`` holds.

        Returns rows (n, k), best first, -1 where there are no more, and inner products, -inf there.
        """
        ...


class VectorIndex:
    """Ids, vectors and a FAISS structure over them. Made by `build` or `load`."""

    def __init__(
        self,
        ids: Sequence[str],
        vectors: FloatArray,
        stamps: StampArray,
        *,
        kind: Kind,
        graph: Callable[[], Any],
        tail: FloatArray | None = None,
        alive: BoolArray | None = None,
    ) -> None:
        self.ids = list(ids)
        self.kind = kind
        self.dim = int(vectors.shape[1])
        self.main = vectors
        self.main_rows = len(vectors)
        self.tail = np.empty((0, self.dim), dtype=np.float32) if tail is None else tail
        self.stamps = stamps
        self.alive: BoolArray = np.ones(len(self.ids), dtype=np.bool_) if alive is None else alive
        self.encoder_digest = ""
        self.catalogue_digest = ""
        self.saved: dict[str, str] = {}
        """sha256 of each unchanging file that a save or load has seen whole, so that a save can link it."""
        self.beside: dict[str, Callable[[Path], None]] = {}
        """Further files that are kept with the index and do not change, by name, each with what writes it."""
        self._make_graph = graph
        self._graph: Any = None
        self._rows = {self.ids[row]: int(row) for row in np.flatnonzero(self.alive)}
        if len(self._rows) != np.count_nonzero(self.alive):
            raise ValueError("an id stands twice among the ids of an index; give each item once")

    @classmethod
    def build(
        cls,
        ids: Sequence[str],
        vectors: FloatArray,
        kind: Kind | Literal["auto"] = "auto",
        progress: Progress | None = None,
        *,
        stamps: StampArray | None = None,
        encoder_digest: str = "",
        catalogue_digest: str = "",
    ) -> Self:
        """An index of unit ``vectors``, float32 (n, dim), in the order of ``ids``.

        ``stamps``, uint64 (n,), say what each vector was made from, so that a refresh can tell which to keep.
        ValueError when sizes differ, an id stands twice, or a vector holds NaN or infinity.
        """
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(ids):
            raise ValueError(f"{len(ids)} ids need as many vectors, not an array of shape {vectors.shape}")
        if not np.isfinite(vectors).all():
            raise ValueError("a vector holds NaN or infinity; check the encoder")
        chosen: Kind = ann.choose_kind(*vectors.shape) if kind == "auto" else kind
        report = None if progress is None else lambda done: progress("indexing", done, len(vectors))
        graph = ann.build(chosen, vectors, report)
        marks = np.zeros(len(ids), dtype=np.uint64) if stamps is None else stamps
        index = cls(ids, vectors, marks, kind=chosen, graph=lambda: graph)
        index.encoder_digest, index.catalogue_digest = encoder_digest, catalogue_digest
        return index

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        mmap: bool = True,
        encoder_digest: str | None = None,
        catalogue_digest: str | None = None,
        verify: bool = True,
    ) -> Self:
        """Reads what `save` wrote. Digests that are given must be the index's own.

        ``verify`` compares the sha256 of every file (about a second a gigabyte). FileNotFoundError when there is no
        index, `IndexMismatch` when it was made by another encoder or from another catalogue, `IndexDamaged` when a
        file is not the one that was written.
        """
        from retrieval import index_files

        return index_files.load(
            cls,
            folder,
            mmap=mmap,
            encoder_digest=encoder_digest,
            catalogue_digest=catalogue_digest,
            verify=verify,
        )

    def save(self, folder: Path) -> None:
        """Writes the index to ``folder``, whole or not at all. Unchanged large files of an earlier save are linked."""
        from retrieval import index_files

        index_files.save(self, folder)

    def __len__(self) -> int:
        """How many items the index holds."""
        return len(self._rows)

    @property
    def graph(self) -> Any:
        """The FAISS index of the main part."""
        if self._graph is None:
            self._graph = self._make_graph()
        return self._graph

    @property
    def needs_rebuild(self) -> bool:
        """True when the tail is so long that searching it exactly costs more than it should."""
        return len(self.tail) > max(_TAIL_MOST, self.main_rows // 20)

    def row(self, item_id: str) -> int | None:
        """The row of an item, or None when the index does not hold it."""
        return self._rows.get(item_id)

    def vectors(self, rows: IntArray | Sequence[int]) -> FloatArray:
        """The vectors of ``rows``, float32 (len(rows), dim)."""
        wanted = np.asarray(rows, dtype=np.int64)
        if not len(self.tail):
            return self.main.take(wanted, axis=0)
        found = np.empty((len(wanted), self.dim), dtype=np.float32)
        old = wanted < self.main_rows
        found[old] = self.main[wanted[old]]
        found[~old] = self.tail[wanted[~old] - self.main_rows]
        return found

    def add(self, ids: Sequence[str], vectors: FloatArray, stamps: StampArray | None = None) -> None:
        """Adds items, or replaces those it holds, without a rebuild."""
        if vectors.shape != (len(ids), self.dim) or len(set(ids)) != len(ids):
            raise ValueError(f"{len(ids)} different ids need vectors ({len(ids)}, {self.dim}), not {vectors.shape}")
        self.remove(ids)
        first = len(self.ids)
        self.tail = np.concatenate([self.tail, np.asarray(vectors, dtype=np.float32)])
        marks = np.zeros(len(ids), dtype=np.uint64) if stamps is None else stamps
        self.stamps = np.concatenate([self.stamps, marks])
        self.alive = np.concatenate([self.alive, np.ones(len(ids), dtype=np.bool_)])
        self.ids.extend(ids)
        self._rows.update((item_id, first + place) for place, item_id in enumerate(ids))

    def remove(self, ids: Iterable[str]) -> None:
        """Removes the items of ``ids`` that it holds; their rows are dead from then on."""
        rows = [row for item_id in ids if (row := self._rows.pop(item_id, None)) is not None]
        if rows:
            self.alive = self.alive.copy()
            self.alive[rows] = False

    def search(self, queries: FloatArray, k: int, allowed: BoolArray | None = None) -> tuple[IntArray, FloatArray]:
        """The best ``k`` living rows for each of ``queries``, float32 (n, dim), among those ``allowed`` holds.

        Returns rows (n, k), best first, -1 where there are no more, and their exact inner products, -inf there.
        Ties are in row order. A filter that leaves few rows is answered exactly whatever the kind, since a graph
        finds few of them.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        mask = self.alive if allowed is None else allowed
        if len(self) < len(self.ids):
            mask = mask & self.alive
        if self.kind == "flat" and not len(self.tail):
            return self._exact(queries, k, mask)
        main_mask = mask[: self.main_rows]
        count = int(np.count_nonzero(main_mask))
        near = None if self._is_narrow(count) else self._approximate(queries, k, main_mask, count)
        if near is None:
            near = [np.flatnonzero(main_mask)] * len(queries)
        added = self.main_rows + np.flatnonzero(mask[self.main_rows :])
        best_rows = np.full((len(queries), k), -1, dtype=np.int64)
        best_scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        for place, (query, rows) in enumerate(zip(queries, near, strict=True)):
            top, scores = self.rescore(query, np.concatenate([rows, added]) if len(added) else rows, k)
            best_rows[place, : len(top)], best_scores[place, : len(top)] = top, scores
        return best_rows, best_scores

    def _exact(self, queries: FloatArray, k: int, mask: BoolArray) -> tuple[IntArray, FloatArray]:
        """`search` where FAISS compares every vector: what it returns needs no second look."""
        count = int(np.count_nonzero(mask))
        selected = None if count == self.main_rows else mask
        rows, scores = ann.search(self.graph, self.kind, queries, k, selected, 1.0)
        if count < k:
            scores[rows < 0] = -np.inf
        if (scores[:, 1:] == scores[:, :-1]).any():
            order = np.lexsort((rows, -scores), axis=-1)
            rows = np.take_along_axis(rows, order, axis=-1)
        return rows, scores

    def _is_narrow(self, count: int) -> bool:
        """Whether scoring the ``count`` rows that a filter leaves is less work than searching among all."""
        return self.kind != "flat" and count <= max(EXACT_BELOW, EXACT_SHARE * self.main_rows)

    def _approximate(self, queries: FloatArray, k: int, mask: BoolArray, count: int) -> list[IntArray] | None:
        """For each query the rows in which its best ``k`` are to be found; None when there are more than were found."""
        most = min(ann.asked(self.kind, k), count)
        if most == 0:
            return [np.empty(0, dtype=np.int64)] * len(queries)
        selected = None if count == self.main_rows else mask
        rows, _ = ann.search(self.graph, self.kind, queries, most, selected, count / self.main_rows)
        return None if (rows[:, -1] < 0).any() else list(rows)

    def rescore(self, query: FloatArray, rows: IntArray, k: int) -> tuple[IntArray, FloatArray]:
        """The best ``k`` of ``rows`` by their full vectors, ties in row order, and the inner products."""
        chunks = (rows[begin : begin + _CHUNK] for begin in range(0, len(rows), _CHUNK))
        scores = np.concatenate([np.empty(0, np.float32), *(self.vectors(chunk) @ query for chunk in chunks)])
        if len(rows) > 4 * k:
            near = np.argpartition(-scores, k)[: 2 * k]
            rows, scores = rows[near], scores[near]
        order = np.lexsort((rows, -scores))[:k]
        return rows[order], scores[order]
