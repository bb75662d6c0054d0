"""Measures agree with what one would count by hand, and equal scores earn nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from federation.device.base import Event
from federation.evaluation.metrics import Ranks, full_ranks, measure, spread, summed_up
from federation.evaluation.protocol import build_task
from federation.evaluation.scorers import Matrix

ITEMS = [f"i{n:03}" for n in range(120)]
TASK = build_task({p: [Event(k, ITEMS[(7 * k + ord(p)) % 40]) for k in range(6)] for p in "abc"}, ITEMS)
SCORES = arrays(np.float32, (3, 120), elements=st.integers(-20, 20))


@given(SCORES)
def test_full_ranks_are_those_of_sorting(values):
    found = full_ranks(TASK, Matrix(values), "test")
    for person, right in enumerate(TASK.test):
        rivals = [n for n in range(120) if n not in {*TASK.train[person], TASK.validation[person], right}]
        # Sorted best first, the right item behind all its equals.
        order = sorted([*rivals, right], key=lambda n: (-values[person, n], n == right))
        assert found.ranks[person] == order.index(right)
        assert found.candidates[person] == len(rivals) + 1


@given(st.lists(st.integers(0, 99), min_size=1, max_size=40))
def test_figures_are_those_of_counting(ranks):
    found = summed_up(Ranks(np.array(ranks), np.full(len(ranks), 100)))
    assert found.hr == pytest.approx(sum(r < 10 for r in ranks) / len(ranks))
    assert found.ndcg == pytest.approx(sum(1 / math.log2(r + 2) for r in ranks if r < 10) / len(ranks))
    assert found.auc == pytest.approx(sum((99 - r) / 99 for r in ranks) / len(ranks))


def test_the_worst_decile_is_of_activity():
    ranks = np.zeros(20, dtype=np.int64)
    ranks[[3, 11]] = 50
    activity = np.arange(20)
    activity[[3, 11]] = -2, -1
    assert summed_up(Ranks(ranks, np.full(20, 100)), activity).worst_decile == 0
    assert summed_up(Ranks(ranks, np.full(20, 100))).worst_decile == 0.5


@pytest.mark.parametrize("held", ["validation", "test"])
def test_constant_scores_get_no_credit(held):
    for figures in measure(TASK, Matrix(np.ones((3, 120), dtype=np.float32)), 0, held).values():
        assert (figures.hr, figures.ndcg, figures.auc) == (0, 0, 0)


def test_knowing_the_answer_gets_all_of_it():
    values = np.zeros((3, 120), dtype=np.float32)
    values[np.arange(3), TASK.test] = 1
    for figures in measure(TASK, Matrix(values), 0).values():
        assert (figures.hr, figures.ndcg, figures.auc, figures.worst_decile) == (1, 1, 1, 1)


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        full_ranks(TASK, Matrix(np.full((3, 120), np.nan, dtype=np.float32)), "test")


def test_means_and_deviations_are_over_seeds():
    found = spread([1.0, 2.0, 3.0])
    assert (found.mean, found.deviation) == (2.0, 1.0)
    assert spread([0.5]).deviation == 0
    with pytest.raises(ValueError, match="no seeds"):
        spread([])
