"""What devices send is bounded, sums to what one would count with everybody's data, and tells of no few."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.collaborative.statistics import CAP, CLIP, KINDS, Sums, Vocabulary, contribution, counts

SIZE = 40
HISTORY = st.lists(st.integers(0, SIZE - 1), unique=True, min_size=1, max_size=30).map(np.array)
HISTORIES = st.lists(HISTORY, min_size=1, max_size=8)
ALL = Vocabulary(np.arange(SIZE), SIZE)


def summed(histories, vocabulary=ALL):
    sums = Sums(len(vocabulary.numbers))
    for history in histories:
        sums.add(contribution(history, vocabulary))
    return sums


@given(HISTORIES)
def test_the_sum_over_devices_is_the_gram_matrix_of_everybodys_data(histories):
    together = np.zeros((len(histories), SIZE))
    for row, history in enumerate(histories):
        together[row, history] = len(history) ** -0.25
    assert np.allclose(summed(histories).matrices["together"], together.T @ together)


@given(HISTORIES)
def test_directed_sums_count_what_came_after_what(histories):
    wanted = np.zeros((SIZE, SIZE))
    for history in histories:
        for p, first in enumerate(history):
            for q in range(p + 1, min(p + 21, len(history))):
                wanted[first, history[q]] += 0.5 ** ((q - p - 1) / 5)
    assert np.allclose(summed(histories).matrices["next"], wanted)


@given(HISTORIES, st.randoms())
def test_the_order_of_devices_does_not_matter(histories, random):
    one, other = summed(histories), summed(random.sample(histories, len(histories)))
    assert all(np.allclose(one.matrices[kind], other.matrices[kind]) for kind in KINDS)
    assert one.devices == other.devices == len(histories)


@given(HISTORY)
def test_a_device_touches_only_its_own_items(history):
    for matrix in summed([history]).matrices.values():
        touched = {int(n) for n in np.argwhere(matrix).ravel()}
        assert touched <= set(history.tolist())


@pytest.mark.parametrize("length", [1, 50, CAP, 3 * CAP])
def test_a_contribution_is_bounded_however_long_the_history(length):
    history = np.random.default_rng(0).permutation(length)
    one = contribution(history, Vocabulary(np.arange(length), length))
    assert len(one.rows) == min(length, CAP)
    assert np.array_equal(one.rows, history[-CAP:])
    assert all(np.linalg.norm(block) <= CLIP * (1 + 1e-9) for block in one.blocks.values())
    assert counts(history, length).sum() == min(length, CAP)


def test_items_that_few_met_stay_out():
    vocabulary = Vocabulary.of(np.array([0, 3, 2, 5]), floor=3)
    assert vocabulary.numbers.tolist() == [1, 3]
    assert vocabulary.places(np.array([3, 2, 1])).tolist() == [1, 0]
    with pytest.raises(ValueError, match="no item"):
        Vocabulary.of(np.array([1, 1]), floor=3)


def test_a_history_outside_the_vocabulary_adds_nothing():
    sums = summed([np.array([0, 2])], Vocabulary(np.array([1, 3]), 4))
    assert not any(matrix.any() for matrix in sums.matrices.values())
