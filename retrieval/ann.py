"""FAISS: which structure fits a catalogue, how it is built, searched, written and read.

Everything here works on row numbers of one fixed array of unit vectors; the index in `retrieval.index`
knows about ids, changes and files.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import faiss
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Kind = Literal["flat", "hnsw", "ivfpq"]

FLAT_BELOW = 50_000
HNSW_LINKS = 32
HNSW_MEMORY_SHARE = 0.25
_EF_BUILD = 128
_EF_SEARCH = 128
_EF_MOST = 4096
_ADD_CHUNK = 10_000
_TRAIN_PER_LIST = 64
_PQ_BITS = 8
PQ_LEAST = 256


def choose_kind(count: int, dim: int) -> Kind:
    """Exact below `FLAT_BELOW` rows; a graph while it fits into a quarter of the machine's memory; else IVF-PQ."""
    if count < FLAT_BELOW:
        return "flat"
    graph_bytes = count * (dim + 2 * HNSW_LINKS * 4 + 16)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return "hnsw" if graph_bytes <= HNSW_MEMORY_SHARE * memory else "ivfpq"


def build(kind: Kind, vectors: FloatArray, report: Callable[[int], None] | None = None) -> Any:
    """A FAISS index of ``vectors``, float32 (n, dim), by inner product. ``report`` is told the rows added so far.

    The graph keeps vectors in 8 bits a dimension and IVF-PQ in about two bits: `retrieval.index` rescales what
    they return with the full vectors. ValueError when there are too few for IVF-PQ to learn from.
    """
    if kind == "ivfpq" and len(vectors) < PQ_LEAST:
        raise ValueError(f"ivfpq learns from at least {PQ_LEAST} vectors, there are {len(vectors)}; use flat or hnsw")
    faiss.omp_set_num_threads(_cores())
    index = _empty(kind, *vectors.shape)
    if not index.is_trained:
        sample = _training_sample(vectors, getattr(index, "nlist", 1))
        index.train(sample)
    for begin in range(0, len(vectors), _ADD_CHUNK):
        index.add(np.ascontiguousarray(vectors[begin : begin + _ADD_CHUNK]))
        if report is not None:
            report(index.ntotal)
    return index


def search(
    index: Any, kind: Kind, queries: FloatArray, k: int, allowed: BoolArray | None, share: float
) -> tuple[IntArray, FloatArray]:
    """The best ``k`` rows for each of ``queries`` (n, dim): rows (n, k), -1 where there are none, and inner products.

    ``allowed`` is a mask of the rows, of which it holds the part ``share``; the effort grows as it shrinks, so that
    as many allowed rows are met.
    """
    faiss.omp_set_num_threads(min(_cores(), len(queries)))
    bits = None if allowed is None else np.packbits(allowed, bitorder="little")
    selector = None if bits is None else faiss.IDSelectorBitmap(bits)
    share = max(share, 1e-6)
    if kind == "hnsw":
        effort = int(max(_EF_SEARCH, 1.5 * k) / share)
        params = faiss.SearchParametersHNSW(sel=selector, efSearch=min(effort, max(_EF_MOST, k)))
    elif kind == "ivfpq":
        probes = int(max(8, index.nlist / 32) / share)
        params = faiss.SearchParametersIVF(sel=selector, nprobe=min(probes, index.nlist))
    else:
        params = faiss.SearchParameters(sel=selector)
    scores, rows = index.search(queries, k, params=params)
    return cast("IntArray", rows), cast("FloatArray", scores)


def write(index: Any, path: Path) -> None:
    """Writes ``index`` to ``path``."""
    faiss.write_index(index, str(path))


def read(path: Path, kind: Kind, *, mmap: bool) -> Any:
    """Reads an index written by `write`; with ``mmap`` its data stay on disk until touched."""
    flags = (faiss.IO_FLAG_MMAP if kind == "ivfpq" else faiss.IO_FLAG_MMAP_IFC) if mmap else 0
    return faiss.read_index(str(path), flags)


def _empty(kind: Kind, count: int, dim: int) -> Any:
    if kind == "flat":
        return faiss.IndexFlatIP(dim)
    if kind == "hnsw":
        index = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_8bit, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _EF_BUILD
        return index
    lists = max(1, min(int(4 * count**0.5), count // 39))
    parts = next(size for size in range(max(1, dim // 4), 0, -1) if dim % size == 0)
    return faiss.index_factory(dim, f"IVF{lists},PQ{parts}x{_PQ_BITS}np", faiss.METRIC_INNER_PRODUCT)


def _training_sample(vectors: FloatArray, lists: int) -> FloatArray:
    size = min(len(vectors), max(_TRAIN_PER_LIST * lists, 20_000))
    rows = np.random.default_rng(0).choice(len(vectors), size=size, replace=False)
    return np.ascontiguousarray(vectors[np.sort(rows)])


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
