"""Figures carry their targets, counts and intervals."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.evaluation.judge import Score
from assistant.evaluation.report import f1_interval, interval, report
from assistant.evaluation.run import Results
from assistant.evaluation.score import Counts


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=20, max_size=60))
def test_an_interval_holds_its_mean_within_zero_and_one(values):
    low, high = interval(values)
    assert 0 <= low <= sum(values) / len(values) + 1e-9
    assert sum(values) / len(values) <= high + 1e-9 <= 1 + 1e-6


def test_all_right_is_not_certainty():
    low, high = interval([1.0] * 100)
    assert 0.95 < low < 0.97
    assert high == 1.0


def test_too_few_values_have_no_interval():
    assert interval([1.0] * 5) is None
    assert f1_interval([Counts(1)] * 5) is None


def test_the_interval_of_f1_is_drawn_over_utterances():
    low, high = f1_interval([Counts(2, 0, 0)] * 90 + [Counts(0, 1, 1)] * 10)
    assert low < 0.947 < high
    assert f1_interval([Counts()] * 30) is None


def scores(measure, part, good, bad):
    return [Score(measure, part, f"x{n}", float(n < good), "" if n < good else "why") for n in range(good + bad)]


def test_figures_stand_beside_targets_and_failures_beside_replies():
    found = report(
        Results(
            scores=[*scores("constraints", "utterance", 96, 4), *scores("grounded", "conversation", 100, 0)],
            slots={"u1": {"genres": Counts(9, 0, 1), "years": Counts()}},
            openings=["a b c d", "a b c d", "e f g h", "i j k l"],
            timings={"respond": [1.0, 2.0, 3.0]},
            replies={"x96": "[recommend] Hm."},
            recalled=[1.0, 0.0],
        )
    )
    by_name = {figure.name: figure for figure in found.figures}
    assert (by_name["constraints"].value, by_name["constraints"].reached) == (0.96, False)
    assert (by_name["grounded"].value, by_name["grounded"].reached) == (1.0, True)
    assert by_name["slot_f1"].reached is True
    assert (by_name["openings"].value, by_name["recall"].value) == (0.75, 0.5)
    assert found.missed == (by_name["constraints"],)
    assert found.failures[0] == {"id": "x96", "measure": "constraints", "detail": "why", "reply": "[recommend] Hm."}
    assert found.slots.keys() == {"genres"}
    assert found.timings["respond"]["p50"] == 2.0
    json.dumps(found.as_dict())


def test_nothing_measured_is_an_empty_report():
    assert report(Results()).figures == ()
