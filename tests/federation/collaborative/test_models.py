"""The server's matrices are what their papers define, from sums alone."""

from __future__ import annotations

import numpy as np
import pytest

from federation.collaborative.models import LINKS, ease, factorised, item_vectors, solve, spectral, transitions
from federation.collaborative.statistics import Sums, Vocabulary, contribution
from federation.releases.weights import items_from_bytes, items_to_bytes


@pytest.fixture
def interactions():
    return (np.random.default_rng(0).random((60, 20)) < 0.3).astype(float)


def test_ease_is_ridge_regression_of_each_item_on_the_others(interactions):
    weights = ease(interactions.T @ interactions, ridge=5.0)
    for item in range(20):
        others = np.delete(np.arange(20), item)
        known = interactions[:, others]
        wanted = np.linalg.solve(known.T @ known + 5 * np.eye(19), known.T @ interactions[:, item])
        assert np.allclose(weights[others, item], wanted, atol=1e-5)
    assert not np.diag(weights).any()


def test_taste_projects_on_the_right_singular_vectors(interactions):
    link = spectral(interactions.T @ interactions, np.ones(20, dtype=np.int64), width=4)
    vectors = np.linalg.svd(interactions)[2][:4]
    assert np.allclose(link, vectors.T @ vectors, atol=1e-5)


def test_transitions_are_shares_shrunk_towards_nothing():
    link = transitions(np.array([[0.0, 90.0], [1.0, 0.0]]))
    assert np.allclose(link, [[0, 0.9], [1 / 11, 0]])


def test_source_and_target_vectors_give_the_link_back_at_full_width():
    link = np.random.default_rng(1).random((12, 12)).astype(np.float32)
    link[:, 11] = link[:, 10]  # of rank 11, which sparse solvers can reach
    source, target = factorised(link, 11)
    assert np.allclose(source @ target.T, link, atol=1e-4)
    narrow = factorised(link, 3)
    assert np.linalg.norm(narrow[0] @ narrow[1].T - link) == pytest.approx(
        np.linalg.norm(np.linalg.svd(link, compute_uv=False)[3:]), rel=1e-3
    )


def test_a_release_carries_a_link_as_item_vectors():
    vocabulary = Vocabulary(np.arange(0, 40, 2), 40)
    sums = Sums(20)
    rng = np.random.default_rng(0)
    for _ in range(30):
        sums.add(contribution(rng.permutation(40)[:15], vocabulary))
    shared = solve(sums, np.full(40, 5), vocabulary)
    assert set(shared.links) == set(LINKS)
    assert all(np.isfinite(link).all() and link.dtype == np.float32 for link in shared.links.values())
    vectors = item_vectors(shared, tuple(f"i{n}" for n in range(40)), "near", 6)
    assert vectors.ids[:2] == ("i0", "i2")
    assert vectors.vectors.shape == (20, 12)
    again = items_from_bytes(items_to_bytes(vectors), "items")
    assert np.array_equal(again.vectors, vectors.vectors)
