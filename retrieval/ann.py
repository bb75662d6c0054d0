"""FAISS: which structure fits a catalogue, how it is built, searched, written and read.

Everything here works on row numbers of one fixed array of unit vectors; the index in `retrieval.index`
knows about ids, changes and files.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, cast

import faiss
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Kind = Literal["flat", "ivf", "ivfpq", "hnsw"]

FLAT_BELOW = 50_000
CODES_MEMORY_SHARE = 0.25
RECALL = 0.995
"""The part of the ten true neighbours that an index of lists finds, measured on its own rows when it is built."""

LEARNS_FROM: dict[Kind, int] = {"ivf": 40, "ivfpq": 256}
"""The fewest vectors that a kind can learn from."""

_LISTS = ("ivf", "ivfpq")
_HNSW_LINKS = 32
_EF_BUILD = 128
_EF_SEARCH = 128
_EF_MOST = 4096
_ADD_CHUNK = 10_000
_TRAIN_PER_LIST = 50
_PQ_BITS = 8
_TUNED_ON = 256
_NEIGHBOURS = 10
_LEAST_GAIN = 1e-3
_ROUNDING = 1e-5
_LEAST_SHARE = 1e-6


def choose_kind(count: int, dim: int) -> Kind:
    """Exact below `FLAT_BELOW` rows; lists of 8-bit codes while they fit into a quarter of memory; else IVF-PQ.

    A graph (HNSW) is for whoever asks for it: it takes several times as long to build, and a filter makes it wander.
    """
    if count < FLAT_BELOW:
        return "flat"
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return "ivf" if count * (dim + 8) <= CODES_MEMORY_SHARE * memory else "ivfpq"


def build(kind: Kind, vectors: FloatArray, report: Callable[[int], None] | None = None) -> Any:
    """A FAISS index of ``vectors``, float32 (n, dim), by inner product. ``report`` is told the rows added so far.

    ``ivf`` and ``hnsw`` keep vectors in 8 bits a dimension and ``ivfpq`` in about two: `retrieval.index` rescales what
    they return with the full vectors. How many lists a search reads is measured at the end (`tune`). ValueError when
    there are too few vectors for the kind to learn from.
    """
    if len(vectors) < (least := LEARNS_FROM.get(kind, 0)):
        raise ValueError(f"{kind} learns from at least {least} vectors, there are {len(vectors)}; use flat or hnsw")
    faiss.omp_set_num_threads(_cores())
    index = _empty(kind, *vectors.shape)
    if not index.is_trained:
        index.train(_training_sample(vectors, getattr(index, "nlist", 1)))
    for begin in range(0, len(vectors), _ADD_CHUNK):
        index.add(np.ascontiguousarray(vectors[begin : begin + _ADD_CHUNK]))
        if report is not None:
            report(index.ntotal)
    if kind in _LISTS:
        tune(index, kind, vectors)
    return index


def asked(kind: Kind, k: int) -> int:
    """How many rows to ask a structure for, so that the best ``k`` by the full vectors are among them."""
    return {"flat": k, "ivf": k + 16, "hnsw": 2 * k + 32, "ivfpq": 10 * k + 100}[kind]


def tune(index: Any, kind: Kind, vectors: FloatArray) -> None:
    """Sets how many lists ``index`` reads: the fewest that find `RECALL` of the neighbours of rows drawn by chance.

    How many that is depends on how the vectors lie, which no rule of thumb knows; FAISS keeps it in the index's file.
    It ends where more lists find no more, as they do when the codes are too coarse.
    """
    faiss.omp_set_num_threads(_cores())
    rows = np.random.default_rng(1).choice(len(vectors), size=min(_TUNED_ON, len(vectors)), replace=False)
    queries = np.ascontiguousarray(vectors[rows])
    best = min(_NEIGHBOURS + 1, len(vectors))  # each row finds itself, too
    exact, _ = faiss.knn(queries, vectors, best, metric=faiss.METRIC_INNER_PRODUCT)
    before = 0.0
    for lists in _rising(index.nlist):
        index.nprobe = lists
        _, found = index.search(queries, min(asked(kind, best), len(vectors)))
        scores = np.einsum("qd,qkd->qk", queries, vectors[found])
        # Counted by score, since of equal vectors any will do; FAISS fills up with row -1, which is no find.
        near = np.count_nonzero((found >= 0) & (scores >= exact[:, -1:] - _ROUNDING), axis=1)
        recall = float(np.mean((np.minimum(near, best) - 1) / max(1, best - 1)))
        if recall >= RECALL or (before > 0.5 and recall - before < _LEAST_GAIN):
            return
        before = recall


def search(
    index: Any, kind: Kind, queries: FloatArray, k: int, allowed: BoolArray | None, share: float
) -> tuple[IntArray, FloatArray]:
    """The best ``k`` rows for each of ``queries`` (n, dim): rows (n, k), -1 where there are none, and inner products.

    ``allowed`` is a mask of the rows, of which it holds the part ``share``; the effort grows as it shrinks, so that as
    many allowed rows are met. Where they lie so far from a query that ``k`` were not, every list is read; a graph
    comes back with fewer rows than there are.
    """
    faiss.omp_set_num_threads(min(_cores(), len(queries)))
    bits = None if allowed is None else np.packbits(allowed, bitorder="little")
    selector = None if bits is None else faiss.IDSelectorBitmap(bits)
    if kind == "hnsw":
        effort = int(max(_EF_SEARCH, 1.5 * k) / max(share, _LEAST_SHARE))
        params = faiss.SearchParametersHNSW(sel=selector, efSearch=min(effort, max(_EF_MOST, k)))
    elif kind in _LISTS:
        params = faiss.SearchParametersIVF(sel=selector, nprobe=probes(index, share))
    else:
        params = faiss.SearchParameters(sel=selector)
    scores, rows = index.search(queries, k, params=params)
    if kind in _LISTS and (rows[:, -1] < 0).any():
        params = faiss.SearchParametersIVF(sel=selector, nprobe=index.nlist)
        scores, rows = index.search(queries, k, params=params)
    return cast("IntArray", rows), cast("FloatArray", scores)


def probes(index: Any, share: float) -> int:
    """How many lists a search reads behind a filter that leaves the part ``share`` of the rows."""
    return int(min(math.ceil(index.nprobe / max(share, _LEAST_SHARE)), index.nlist))


def write(index: Any, path: Path) -> None:
    """Writes ``index`` to ``path``."""
    faiss.write_index(index, str(path))


def read(path: Path, *, mmap: bool) -> Any:
    """Reads an index written by `write`; with ``mmap`` its data stay on disk until touched."""
    # IO_FLAG_MMAP would do for lists as well, but starts 32 threads to prefetch them at every search.
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mmap else 0)


def _empty(kind: Kind, count: int, dim: int) -> Any:
    if kind == "flat":
        return faiss.IndexFlatIP(dim)
    if kind == "hnsw":
        index = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_8bit, _HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _EF_BUILD
        return index
    lists = max(1, min(int(4 * count**0.5), count // 39))
    parts = next(size for size in range(max(1, dim // 4), 0, -1) if dim % size == 0)
    codes = "SQ8" if kind == "ivf" else f"PQ{parts}x{_PQ_BITS}np"
    return faiss.index_factory(dim, f"IVF{lists},{codes}", faiss.METRIC_INNER_PRODUCT)


def _rising(most: int) -> Iterator[int]:
    """1, 2, 3, 4, 6, 8, 11, ... ``most``: each about 1.4 times the one before."""
    lists = 1.0
    while round(lists) < most:
        yield round(lists)
        lists = max(lists * 2**0.5, lists + 1)
    yield most


def _training_sample(vectors: FloatArray, lists: int) -> FloatArray:
    size = min(len(vectors), max(_TRAIN_PER_LIST * lists, 20_000))
    rows = np.random.default_rng(0).choice(len(vectors), size=size, replace=False)
    return np.ascontiguousarray(vectors[np.sort(rows)])


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
