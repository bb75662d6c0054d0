"""Retrieval over synthetic items, by size: recall@10 against exact search, latency, build, memory, beside bare FAISS.

What is measured is what a turn of conversation does: a real catalogue file, the index that `retrieval.ann` chooses,
hard filters from the columns. Only the encoder is left out: a query is a vector. Every query asks Sotto and then bare
FAISS, which gets the same structure, the same lists to read and a ready-made mask, so that their ratio holds on a busy
machine too. Building and searching each have a process of their own, so that the memory is theirs.

With ``--work FOLDER`` what was built is kept, and a second run searches it without building.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, get_args

import faiss
import numpy as np
import psutil

from benchmarks import report
from benchmarks.synthetic_items import SyntheticItems
from retrieval import ann
from retrieval.ann import BoolArray, FloatArray, IntArray
from retrieval.catalogue import Catalogue
from retrieval.encoder import Progress
from retrieval.index import VectorIndex
from retrieval.search import Library
from retrieval.upkeep import WantedKind
from retrieval.wish import Wish

SIZES = (1_000, 100_000, 1_000_000)
QUERIES = 200
WARM_UP = 10
K = 10
_CATALOGUE, _INDEX, _PLAN, _ASKED = "catalogue.sqlite", "index", "plan.json", "queries.npy"
_EXACT_TIMED = 5
_MIB = 2**20

P = ParamSpec("P")
T = TypeVar("T")


class Prepared:
    """Stands in for the encoder: the vector of the text ``#7`` is the seventh."""

    digest = "synthetic"

    def __init__(self, vectors: FloatArray) -> None:
        self._vectors = vectors
        self.dim = int(vectors.shape[1])

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> FloatArray:
        """The vectors of texts that end in ``#`` and a number."""
        del progress
        return self._vectors[[int(text.rpartition("#")[2]) for text in texts]]


def main() -> None:
    """Measures each size and writes benchmarks/results/retrieval_scale.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = ",".join(map(str, SIZES))
    parser.add_argument("--sizes", default=sizes, help=f"numbers of items, by comma; {sizes} by default")
    kinds = ("auto", *get_args(ann.Kind))
    parser.add_argument("--kind", default="auto", choices=kinds, help="the structure; by size if not said")
    parser.add_argument("--queries", type=int, default=QUERIES, help=f"how many, {QUERIES} by default")
    parser.add_argument("--work", type=Path, help="keep what was built in this folder, and use what is there")
    parser.add_argument("--results", type=Path, default=report.RESULTS, help="the folder of the results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        built, searched = [], []
        for count in map(int, options.sizes.split(",")):
            folder = work / f"{count}-{options.kind}"
            if not (folder / _PLAN).exists():
                print(f"building {count:,} items in {folder}", flush=True)
                _apart(build, count, options.queries, options.kind, folder)
            print(f"searching {count:,} items", flush=True)
            start, rows = _apart(search, folder, options.kind)
            built.append(start)
            searched += rows
    others = "" if options.kind == "auto" else f" --kind {options.kind}"
    command = f"python -m benchmarks.retrieval_scale --sizes {options.sizes}{others}"
    report.write("retrieval_scale" + others.replace(" --kind ", "_"), command, [*built, *searched], options.results)


def build(count: int, asked: int, kind: WantedKind, folder: Path) -> None:
    """Makes catalogue and index of ``count`` items in ``folder``, and the plan of what is to be asked of them."""
    folder.mkdir(parents=True, exist_ok=True)
    items = SyntheticItems(count, asked + WARM_UP)
    np.save(folder / _ASKED, items.queries)
    with Catalogue.open(folder / _CATALOGUE) as catalogue:
        _, import_s = _timed(lambda: catalogue.replace(items))
        digest = catalogue.digest
    index, build_s = _timed(
        lambda: VectorIndex.build(
            items.ids, items.vectors, kind, encoder_digest=Prepared.digest, catalogue_digest=digest
        )
    )
    _, bare_s = _timed(lambda: _bare_build(index.graph, items.vectors))
    _, save_s = _timed(lambda: index.save(folder / _INDEX))
    plan = {
        "filters": {name: wish.model_dump(exclude_defaults=True) for name, wish in items.filters().items()},
        "times": {"import s": import_s, "build s": build_s, "faiss build s": bare_s, "save s": save_s},
    }
    (folder / _PLAN).write_text(json.dumps(plan), encoding="utf-8")


def search(folder: Path, kind: WantedKind) -> tuple[report.Row, list[report.Row]]:
    """Opens what `build` made; one row about that, and one for each filter."""
    plan = json.loads((folder / _PLAN).read_text(encoding="utf-8"))
    queries = np.load(folder / _ASKED)
    process = psutil.Process()
    before = process.memory_info()
    with Catalogue.open(folder / _CATALOGUE) as catalogue:
        library, start_s = _timed(lambda: Library(catalogue, Prepared(queries), folder / _INDEX, kind=kind))
        index = library.index
        rows = [_asked(library, name, Wish(**wish), queries) for name, wish in plan["filters"].items()]
    after = process.memory_info()
    mapped = (after.shared - before.shared) / _MIB
    size = {path.name: path.stat().st_size / _MIB for path in (folder / _INDEX).iterdir()}
    start: report.Row = {
        "table": "Building and opening",
        "items": len(index),
        "kind": index.kind,
        "lists read": f"{index.graph.nprobe} of {index.graph.nlist}" if "ivf" in index.kind else None,
        **{name: round(seconds, 2) for name, seconds in plan["times"].items()},
        "open s": round(start_s, 2),
        "codes MiB": round(size.get("graph.faiss", 0), 1),
        "vectors MiB": round(size["vectors.npy"], 1),
        "memory MiB": round((after.rss - before.rss) / _MIB - mapped, 1),
        "mapped MiB": round(mapped, 1),
    }
    return start, rows


def _asked(library: Library, name: str, wish: Wish, queries: FloatArray) -> report.Row:
    """Asks every query behind one filter, of Sotto and of bare FAISS in turns."""
    index, columns = library.index, library.columns
    mask = columns.mask(wish, index.alive)
    share = float(mask.mean())
    exact, exact_ms = _exact(index.main, queries, mask)
    times: dict[str, list[float]] = {name: [] for name in ("mask", "search", "cpu", "faiss", "whole")}

    def sotto(query: FloatArray) -> IntArray:
        cpu = time.thread_time()
        mask, mask_s = _timed(lambda: columns.mask(wish, index.alive))
        (rows, _), search_s = _timed(lambda: index.search(query[None], K, mask))
        times["cpu"].append(1e3 * (time.thread_time() - cpu))
        times["mask"].append(1e3 * mask_s)
        times["search"].append(1e3 * search_s)
        return rows[0]

    def plain(query: FloatArray) -> IntArray:
        rows, seconds = _timed(lambda: _bare_search(index, query[None], mask, share))
        times["faiss"].append(1e3 * seconds)
        return rows[0]

    found: list[IntArray] = []
    bare: list[IntArray] = []
    for number, query in enumerate(queries):
        if number % 2:  # who comes second finds the lists in the processor's cache
            found.append(sotto(query))
            bare.append(plain(query))
        else:
            bare.append(plain(query))
            found.append(sotto(query))
    for number in range(len(queries)):
        spoken = wish.model_copy(update={"about": f"#{number}"})
        times["whole"].append(1e3 * _timed(lambda spoken=spoken: library.search(spoken, k=K))[1])
    if not all(mask[rows[rows >= 0]].all() for rows in found):
        raise AssertionError(f"a row that the filter {name} forbids was found")
    found, bare, times = found[WARM_UP:], bare[WARM_UP:], {part: each[WARM_UP:] for part, each in times.items()}
    return {
        "table": "Searching",
        "items": len(index),
        "filter": name,
        "leaves %": round(100 * share, 2),
        "recall@10": _recall(found, exact),
        **report.quantiles(np.add(times["mask"], times["search"]).tolist(), "ms"),
        "cpu p50 ms": round(float(np.median(times["cpu"])), 3),
        "mask p50 ms": round(float(np.median(times["mask"])), 3),
        "faiss recall@10": _recall(bare, exact),
        **{f"faiss {name}": value for name, value in report.quantiles(times["faiss"], "ms").items()},
        "search / faiss": round(float(np.median(times["search"]) / np.median(times["faiss"])), 2),
        **{f"whole {name}": value for name, value in report.quantiles(times["whole"], "ms").items()},
        "exact ms": round(exact_ms, 2),
    }


def _bare_search(index: VectorIndex, query: FloatArray, mask: BoolArray, share: float) -> IntArray:
    """What somebody would write with FAISS alone: the same structure and effort, no second look at the vectors."""
    selector = None
    if share < 1:
        bits = np.packbits(mask, bitorder="little")
        selector = faiss.IDSelectorBitmap(bits)
    faiss.omp_set_num_threads(1)
    if index.kind in {"ivf", "ivfpq"}:
        params = faiss.SearchParametersIVF(sel=selector, nprobe=ann.probes(index.graph, share))
    elif index.kind == "hnsw":
        params = faiss.SearchParametersHNSW(sel=selector, efSearch=min(int(128 / max(share, 1e-6)), 4096))
    else:
        params = faiss.SearchParameters(sel=selector)
    rows: IntArray = index.graph.search(query, K, params=params)[1]
    return rows


def _bare_build(like: Any, vectors: FloatArray) -> None:
    """Builds an index of the type and parameters of ``like`` by FAISS alone."""
    fresh = faiss.clone_index(like)
    fresh.reset()
    if hasattr(fresh, "nlist"):
        fresh.quantizer.reset()
        fresh.is_trained = False
        fresh.cp.max_points_per_centroid = 50
        fresh.train(vectors)
    fresh.add(vectors)


def _exact(vectors: FloatArray, queries: FloatArray, mask: BoolArray) -> tuple[list[set[int]], float]:
    """The best rows for each query but the first `WARM_UP`, and how long a scan of all vectors takes, in ms."""
    allowed = np.flatnonzero(mask)
    best: list[set[int]] = []
    for part in np.array_split(queries[WARM_UP:], max(1, len(queries) // 50)):
        scores = np.concatenate([vectors[begin : begin + 50_000] @ part.T for begin in range(0, len(vectors), 50_000)])
        for column in scores.T:
            worth = column[allowed]
            top = np.argpartition(-worth, K - 1)[:K] if len(worth) > K else np.arange(len(worth))
            best.append(set(allowed[top].tolist()))
    scans = [_timed(lambda query=query: np.argpartition(-(vectors @ query), K))[1] for query in queries[:_EXACT_TIMED]]
    return best, 1e3 * float(np.median(scans))


def _recall(found: Sequence[IntArray], exact: Sequence[set[int]]) -> float:
    hits = sum(len(best & set(rows.tolist())) for rows, best in zip(found, exact, strict=True))
    wanted = sum(map(len, exact))
    return round(hits / wanted, 4) if wanted else 1.0


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    return work(), time.perf_counter() - started


def _apart(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``work`` done in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *args, **kwargs).result()


if __name__ == "__main__":
    main()
