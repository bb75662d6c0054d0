from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import retrieval_scale
from benchmarks.synthetic_items import Mixture, SyntheticItems
from retrieval.bundled import known_vectors
from retrieval.encoder import BUNDLED_SHA256
from retrieval.wish import Wish


def nearest(vectors: np.ndarray) -> float:
    alike = vectors @ vectors.T
    np.fill_diagonal(alike, -1)
    return float(np.median(alike.max(axis=1)))


def test_synthetic_vectors_lie_as_the_films_do() -> None:
    films = np.stack(list(known_vectors(BUNDLED_SHA256).values()))
    drawn, _ = Mixture.of_films(0).draw(len(films), np.random.default_rng(3))
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1, rtol=1e-5)
    assert nearest(drawn) == pytest.approx(nearest(films), abs=0.03)
    assert np.linalg.norm(drawn.mean(axis=0)) == pytest.approx(np.linalg.norm(films.mean(axis=0)), abs=0.05)


def test_synthetic_items_follow_from_the_seed_and_their_filters_get_narrower() -> None:
    items, again = SyntheticItems(3_000, 5), SyntheticItems(3_000, 5)
    np.testing.assert_array_equal(items.vectors, again.vectors)
    every = list(items)
    assert every == list(again)
    assert [item.id for item in every] == items.ids == sorted(items.ids)

    def left(wish: Wish) -> float:
        fits = [
            set(wish.genres) <= set(item.genres)
            and (not wish.countries or item.countries[0] in wish.countries)
            and (wish.year_to is None or (item.year or 0) <= wish.year_to)
            for item in every
        ]
        return sum(fits) / len(fits)

    shares = [left(wish) for wish in items.filters().values()]
    assert shares[0] == 1
    assert shares[1:3] == pytest.approx([0.1, 0.1], abs=0.06)
    assert 0.002 < shares[3] < 0.03
    assert shares[4] < shares[3]


@pytest.mark.parametrize("kind", ["auto", "ivf"])
def test_the_benchmark_measures_and_takes_up_what_it_built(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval_scale, "_apart", lambda work, *args: work(*args))
    command = ["x", "--sizes", "400", "--queries", "5", "--kind", kind, "--results", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [*command, "--work", str(tmp_path / "work")])
    retrieval_scale.main()
    monkeypatch.setattr(retrieval_scale, "build", None)
    retrieval_scale.main()
    (written,) = tmp_path.glob("*.json")
    rows = json.loads(written.read_text())["rows"]
    assert [row.get("filter") for row in rows] == [None, "none", "years", "genre", "country", "genre and country"]
    assert all(row["recall@10"] == 1 for row in rows[1:]), "a few hundred items are searched exactly"
