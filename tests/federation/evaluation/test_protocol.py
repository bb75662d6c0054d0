"""The split is by time, its ties tell nothing, and held-out items stand where the protocol says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.device.base import Event
from federation.evaluation.protocol import build_task
from tests.federation.evaluation.people import population

ITEMS = [f"i{n:03}" for n in range(150)]
HISTORIES = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.lists(
        st.builds(Event, st.integers(0, 9).map(float), st.sampled_from(ITEMS[:30])), min_size=3, max_size=20
    ).filter(lambda events: len({event.item for event in events}) >= 3),
    min_size=1,
    max_size=4,
)


def test_the_last_item_tests_and_the_one_before_validates():
    task = build_task({"ann": [Event(3, "c"), Event(1, "a"), Event(4, "d"), Event(2, "b")]}, "dcbaz")
    assert task.items == ("a", "b", "c", "d", "z")
    assert (task.train[0].tolist(), task.validation[0], task.test[0]) == ([0, 1], 2, 3)


def test_people_with_fewer_than_three_items_are_left_out():
    seen_twice = [Event(1, "a"), Event(2, "b"), Event(3, "a")]
    task = build_task({"ann": seen_twice, "bo": [Event(n, item) for n, item in enumerate("abc")]}, "abc")
    assert task.people == ("bo",)
    with pytest.raises(ValueError, match="nobody"):
        build_task({"ann": seen_twice}, "abc")


@given(HISTORIES)
def test_what_is_held_out_is_later_and_nowhere_else(histories):
    task = build_task(histories, ITEMS)
    for person, name in enumerate(task.people):
        first = {}
        for event in histories[name]:
            first[event.item] = min(event.at, first.get(event.item, event.at))
        times = [first[task.items[n]] for n in (*task.train[person], task.validation[person], task.test[person])]
        assert times == sorted(times)
        assert len({*task.train[person], task.validation[person], task.test[person]}) == len(first)


@given(HISTORIES, st.randoms())
def test_the_order_of_a_file_does_not_matter(histories, random):
    shuffled = {name: random.sample(events, len(events)) for name, events in histories.items()}
    one, other = build_task(histories, ITEMS), build_task(shuffled, reversed(ITEMS))
    assert np.array_equal(one.test, other.test)
    assert [known.tolist() for known in one.train] == [known.tolist() for known in other.train]


def test_ties_follow_no_order_of_ids():
    names = [f"i{n:03}" for n in range(100)]
    task = build_task({str(person): [Event(0.0, name) for name in names] for person in range(30)}, names)
    assert len(set(task.test)) > 15
    assert 30 < task.test.mean() < 70


@given(HISTORIES, st.integers(0, 5))
def test_negatives_were_never_met_and_are_drawn_once(histories, seed):
    task = build_task(histories, ITEMS)
    drawn = task.negatives(seed)
    assert np.array_equal(drawn, task.negatives(seed))
    for person, row in enumerate(drawn):
        assert len(set(row)) == 99
        assert not set(row) & {*task.train[person], task.validation[person], task.test[person]}


def test_too_few_items_for_negatives_is_said():
    task = build_task({"ann": [Event(n, item) for n, item in enumerate("abc")]}, "abcdef")
    with pytest.raises(ValueError, match="ann leaves 3 items unmet"):
        task.negatives(0)


@given(HISTORIES)
def test_candidates_are_all_but_known_items_and_the_other_held_out_one(histories):
    task = build_task(histories, ITEMS)
    for person, known in enumerate(task.train):
        in_testing = set(task.candidates(person, "test"))
        assert in_testing == set(range(len(ITEMS))) - {*known, task.validation[person]}
        in_validation = set(task.candidates(person, "validation"))
        assert in_validation == set(range(len(ITEMS))) - {*known, task.test[person]}


def test_the_small_population_is_a_task():
    task = build_task(population().histories, population().items)
    assert (len(task.people), len(task.train[0])) == (40, 10)
