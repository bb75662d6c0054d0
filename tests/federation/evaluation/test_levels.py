"""Levels learn from training and validation items and never from the test item."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from federation.collaborative.content import content
from federation.collaborative.features import COLUMNS, features
from federation.evaluation.baselines import BASELINES
from federation.evaluation.levels import LEVELS, all_features, learn, level_scorers
from federation.evaluation.metrics import measure
from federation.evaluation.personalisation import MEASURES, compare
from federation.evaluation.protocol import build_task
from tests.federation.evaluation.people import FILMS, population

PEOPLE = population()
TASK = build_task(PEOPLE.histories, PEOPLE.items)
CONTENT = content(PEOPLE.items, TASK.items)


@pytest.fixture(scope="module")
def known():
    return all_features(TASK, learn(TASK), CONTENT)


@pytest.fixture(scope="module")
def levels(known):
    return level_scorers(TASK, known, seed=0, cohorts=2)


def shuffled():
    """The task with everybody's test item given to somebody else."""
    return replace(TASK, test=np.roll(TASK.test, 7))


def test_shuffled_test_items_change_nothing_that_is_shared():
    one, other = learn(TASK), learn(shuffled())
    assert all(np.array_equal(one.links[link], other.links[link]) for link in one.links)
    assert np.array_equal(one.popularity, other.popularity)


def test_shuffled_test_items_change_no_score_beyond_where_their_negatives_are_drawn(known, monkeypatch):
    # Validation negatives avoid whatever was met, the test item too; held fixed, nothing else may move.
    drawn = TASK.negatives(0)
    monkeypatch.setattr("federation.evaluation.protocol.Task.negatives", lambda *_, **__: drawn)
    for one, other in zip(
        level_scorers(TASK, known, 0, 2).values(), level_scorers(shuffled(), known, 0, 2).values(), strict=True
    ):
        assert np.array_equal(one.test.values, other.test.values)
        assert np.array_equal(one.validation.values, other.validation.values)


@pytest.mark.parametrize("name", BASELINES)
def test_shuffled_test_items_change_no_baseline(name, monkeypatch):
    if name.startswith("central"):
        pytest.importorskip("implicit")
    drawn = TASK.negatives(0)
    monkeypatch.setattr("federation.evaluation.protocol.Task.negatives", lambda *_, **__: drawn)
    one, other = (BASELINES[name](task, 0).values for task in (TASK, shuffled()))
    # implicit's threads add in any order.
    assert np.allclose(one, other, atol=1e-4)


def test_features_are_bounded_and_of_this_device_alone():
    shared = learn(TASK)
    found = features(TASK.train[0], shared, CONTENT)
    assert found.shape == (FILMS, len(COLUMNS))
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 8
    assert np.array_equal(found, features(TASK.train[0].copy(), shared, CONTENT))


def test_a_device_with_one_unheard_of_item_still_gets_scores():
    unmet = np.array([FILMS - 1])
    assert np.isfinite(features(unmet, learn(TASK), CONTENT)).all()


def test_one_history_further_on_the_list_is_foretold(levels):
    found = {name: measure(TASK, levels[name].test, 0)["sampled"] for name in LEVELS}
    assert found["personal"].ndcg > found["base"].ndcg
    assert found["personal"].hr > 0.9


def test_the_comparison_has_every_row_and_measure():
    pytest.importorskip("implicit")
    steps = []
    found = compare(PEOPLE, [0, 1], lambda *step: steps.append(step))
    assert [row.name for row in found.rows] == [*BASELINES, *LEVELS]
    assert all(set(row.figures) == set(MEASURES) for row in found.rows)
    assert set(found.gains) == {"base to global", "global to cohort", "cohort to personal"}
    assert steps[-1] == ("seeds", 2, 2)
    by_name = {row.name: row for row in found.rows}
    assert by_name["personal"].figures["HR@10 of 100"].mean > by_name["popularity"].figures["HR@10 of 100"].mean


@pytest.mark.data
def test_links_of_real_people_rank_above_popularity(shared_data):
    from federation.device.population import read_population

    people = read_population(shared_data / "ml-100k")
    some = dict(list(people.histories.items())[:150])
    task = build_task(some, people.items)
    seen = all_features(task, learn(task), content(people.items, task.items))
    near = seen[..., COLUMNS.index("near 5")]
    popular = seen[..., COLUMNS.index("popularity")]
    hr = {}
    for name, values in (("near", near), ("popular", popular)):
        hr[name] = measure(task, level_of(values), 0)["sampled"].hr
    assert hr["near"] > hr["popular"] + 0.05


def level_of(values):
    from federation.evaluation.scorers import Matrix

    return Matrix(np.ascontiguousarray(values))
