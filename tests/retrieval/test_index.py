from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval import ann, index_files
from retrieval.ann import FloatArray, Kind
from retrieval.index import VectorIndex
from retrieval.index_files import IndexDamaged, IndexMismatch


def unit_vectors(count: int, dim: int = 16, seed: int = 0) -> FloatArray:
    vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def names(count: int, prefix: str = "m") -> list[str]:
    return [f"{prefix}{row}" for row in range(count)]


def clustered(count: int, dim: int = 64) -> FloatArray:
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((60, dim))
    vectors = (centres[rng.integers(0, 60, count)] + 0.5 * rng.standard_normal((count, dim))).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@functools.cache
def built(kind: Kind) -> VectorIndex:
    return VectorIndex.build(names(2000), clustered(2000), kind)


@settings(deadline=None, max_examples=40)
@given(count=st.integers(0, 60), k=st.integers(1, 70), seed=st.integers(0, 1000), data=st.data())
def test_flat_equals_brute_force(count: int, k: int, seed: int, data: st.DataObject) -> None:
    vectors, queries = unit_vectors(count, seed=seed), unit_vectors(3, seed=seed + 1)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), dtype=np.bool_)
    rows, scores = VectorIndex.build(names(count), vectors, "flat").search(queries, k, mask)
    for place, query in enumerate(queries):
        allowed = np.flatnonzero(mask)
        expected = np.sort(vectors[allowed] @ query)[::-1][:k]
        found = rows[place][rows[place] >= 0]
        assert len(found) == len(expected)
        assert len(set(found.tolist())) == len(found)
        assert mask[found].all()
        np.testing.assert_allclose(scores[place][: len(found)], expected, rtol=1e-5, atol=1e-6)
        assert np.isneginf(scores[place][len(found) :]).all()


def test_ties_are_in_row_order() -> None:
    vectors = unit_vectors(3)
    index = VectorIndex.build(names(12), np.tile(vectors, (4, 1)), "flat")
    best = int(np.argmax(vectors @ vectors[1]))
    rows, scores = index.search(vectors[1:2], 20)
    assert rows[0, :4].tolist() == [best + 3 * copy for copy in range(4)]
    assert (rows[0, 12:] == -1).all()
    assert np.isneginf(scores[0, 12:]).all()


@pytest.mark.parametrize("kind", ["ivf", "ivfpq", "hnsw"])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.05])
def test_approximate_kinds_recall_nearly_everything(kind: Kind, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.index.EXACT_BELOW", 50)
    monkeypatch.setattr("retrieval.index.EXACT_SHARE", 0)
    index = built(kind)
    vectors = index.main
    mask = np.random.default_rng(2).random(2000) < share
    queries = vectors[:50]
    rows, _ = index.search(queries, 10, mask)
    allowed = np.flatnonzero(mask)
    best = [set(allowed[np.argsort(-(vectors[allowed] @ query))[:10]].tolist()) for query in queries]
    hits = sum(len(wanted & set(found.tolist())) for wanted, found in zip(best, rows, strict=True))
    assert hits / sum(map(len, best)) >= 0.98
    assert mask[rows].all()


@pytest.mark.parametrize("kind", ["ivf", "ivfpq"])
def test_what_a_filter_leaves_is_found_far_from_the_query(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.index.EXACT_BELOW", 50)
    monkeypatch.setattr("retrieval.index.EXACT_SHARE", 0)
    index = built(kind)
    queries = index.main[:20]
    for query in queries:
        mask = index.main @ query < np.quantile(index.main @ query, 0.1)
        allowed = np.flatnonzero(mask)
        best = allowed[np.argsort(-(index.main[allowed] @ query))[:10]]
        found = index.search(query[None], 10, mask)[0][0]
        assert len(set(best.tolist()) & set(found.tolist())) >= 9


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(["flat", "ivf", "ivfpq", "hnsw"]),
    exact_below=st.sampled_from([0, 100, 5_000]),
    share=st.floats(0, 1),
    k=st.integers(1, 80),
    seed=st.integers(0, 1000),
)
def test_a_search_fills_up_with_allowed_rows_and_none_twice(
    kind: Kind, exact_below: int, share: float, k: int, seed: int
) -> None:
    index = built(kind)
    mask = np.random.default_rng(seed).random(2000) < share
    allowed = np.flatnonzero(mask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retrieval.index.EXACT_BELOW", exact_below)
        patch.setattr("retrieval.index.EXACT_SHARE", 0)
        rows, scores = index.search(index.main[seed : seed + 3], k, mask)
    for query, found, worth in zip(index.main[seed : seed + 3], rows, scores, strict=True):
        wanted = min(k, len(allowed))
        assert (found[:wanted] >= 0).all()
        assert (found[wanted:] == -1).all()
        assert mask[found[:wanted]].all()
        assert len(set(found[:wanted].tolist())) == wanted
        np.testing.assert_allclose(worth[:wanted], index.main[found[:wanted]] @ query, atol=1e-5)
        if kind == "flat" or len(allowed) <= exact_below:
            np.testing.assert_allclose(worth[:wanted], np.sort(index.main[allowed] @ query)[::-1][:k], atol=1e-5)


@pytest.mark.parametrize("kind", ["ivf", "ivfpq"])
def test_a_build_sets_how_many_lists_are_read_and_the_file_keeps_it(tmp_path: Path, kind: Kind) -> None:
    index = built(kind)
    assert 1 < index.graph.nprobe < index.graph.nlist
    ann.write(index.graph, tmp_path / "graph")
    assert ann.read(tmp_path / "graph", mmap=True).nprobe == index.graph.nprobe


@pytest.mark.parametrize("kind", ["flat", "ivf", "ivfpq", "hnsw"])
@pytest.mark.parametrize("mmap", [True, False])
def test_save_then_load_is_the_identity(tmp_path: Path, kind: Kind, mmap: bool) -> None:
    vectors = clustered(300, dim=16)
    stamps = np.arange(300, dtype=np.uint64)
    index = VectorIndex.build(names(300), vectors, kind, stamps=stamps, encoder_digest="e", catalogue_digest="c")
    index.add(["m3", "new"], unit_vectors(2), np.array([7, 8], dtype=np.uint64))
    index.remove(["m5"])
    index.save(tmp_path / "index")
    loaded = VectorIndex.load(tmp_path / "index", mmap=mmap, encoder_digest="e", catalogue_digest="c")
    assert (loaded.ids, loaded.kind, len(loaded)) == (index.ids, kind, 300)
    for ours, theirs in ((loaded.stamps, index.stamps), (loaded.alive, index.alive), (loaded.main, index.main)):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(loaded.search(vectors[:9], 10), index.search(vectors[:9], 10), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_changed_items_are_found_and_removed_ones_are_not() -> None:
    vectors = unit_vectors(50)
    index = VectorIndex.build(names(50), vectors)
    index.add(["new", "m1"], np.stack([vectors[7], vectors[9]]))
    index.remove(["m9", "unknown"])
    found = [index.ids[row] for row in index.search(vectors[9:10], 3)[0][0]]
    assert found[0] == "m1"
    assert "m9" not in found
    assert {index.ids[row] for row in index.search(vectors[7:8], 2)[0][0]} == {"m7", "new"}
    assert len(index) == 50
    assert index.row("m9") is None
    np.testing.assert_array_equal(index.vectors([index.row("m1") or 0, 3]), vectors[[9, 3]])


def test_a_second_save_links_the_main_part_and_leaves_no_litter(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    VectorIndex.build(names(20), unit_vectors(20)).save(folder)
    before = (folder / "vectors.npy").stat().st_ino
    index = VectorIndex.load(folder)
    index.add(["new"], unit_vectors(1))
    index.save(folder)
    assert (folder / "vectors.npy").stat().st_ino == before
    assert len(VectorIndex.load(folder)) == 21
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_save_that_fails_leaves_the_former_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "index"
    VectorIndex.build(names(20), unit_vectors(20)).save(folder)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(index_files.np, "save", full)
    with pytest.raises(OSError, match="No space"):
        VectorIndex.build(names(30), unit_vectors(30)).save(folder)
    assert len(VectorIndex.load(folder)) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_save_cut_off_between_its_renames_is_recovered(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    VectorIndex.build(names(20), unit_vectors(20)).save(folder)
    folder.rename(tmp_path / ".index.previous")
    assert len(VectorIndex.load(folder)) == 20


def test_another_encoder_or_catalogue_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    VectorIndex.build(names(3), unit_vectors(3), encoder_digest="minilm", catalogue_digest="films").save(folder)
    with pytest.raises(IndexMismatch, match="encoder minilm, not to other.*sotto catalogue index"):
        VectorIndex.load(folder, encoder_digest="other")
    with pytest.raises(IndexMismatch, match="catalogue films, not to books"):
        VectorIndex.load(folder, catalogue_digest="books")


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    VectorIndex.build(names(3), unit_vectors(3)).save(folder)
    data = bytearray((folder / "vectors.npy").read_bytes())
    data[-1] ^= 1
    (folder / "vectors.npy").write_bytes(data)
    with pytest.raises(IndexDamaged, match=r"vectors\.npy has changed"):
        VectorIndex.load(folder)
    (folder / "vectors.npy").unlink()
    with pytest.raises(IndexDamaged, match=r"vectors\.npy is missing"):
        VectorIndex.load(folder)
    with pytest.raises(FileNotFoundError, match="there is no index"):
        VectorIndex.load(tmp_path / "elsewhere")


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="as many vectors"):
        VectorIndex.build(names(2), unit_vectors(3))
    with pytest.raises(ValueError, match="stands twice"):
        VectorIndex.build(["a", "a"], unit_vectors(2))
    with pytest.raises(ValueError, match="NaN"):
        VectorIndex.build(["a"], np.full((1, 4), np.nan, dtype=np.float32))
    for kind in ("ivf", "ivfpq"):
        with pytest.raises(ValueError, match=f"{kind} learns from at least"):
            VectorIndex.build(names(9), unit_vectors(9), kind)


def test_the_kind_follows_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ann.os, "sysconf", lambda name: 2**30 if name == "SC_PHYS_PAGES" else 8)
    assert [ann.choose_kind(count, 384) for count in (49_999, 50_000, 1_000_000, 10_000_000)] == [
        "flat",
        "ivf",
        "ivf",
        "ivfpq",
    ]
