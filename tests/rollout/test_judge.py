"""The judge finds harm soon and alarms seldom, however often it looks and however unlike people are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.rollout.arms import BUCKETS
from assistant.rollout.judge import Count, Limits, Verdict, always_valid_p, judge


def counts(
    rng: np.random.Generator, *, accept: float = 0.4, errors: float = 0.01, seconds: float = 1.0, size: int = 40
):
    """A step of a control as usual and a canary that is like this."""
    for arm, rate, failing, slow in (("control", 0.4, 0.01, 1.0), ("canary", accept, errors, seconds)):
        for bucket in range(BUCKETS):
            failed = int(rng.binomial(size, failing))
            done = size - failed
            taste = float(np.clip(rng.normal(rate, 0.1), 0, 1))
            logs = float(rng.normal(math.log(slow), 0.3, done).sum())
            yield Count(0, arm, bucket, done, int(rng.binomial(done, taste)), size, failed, logs)  # type: ignore[arg-type]


def by_measure(verdicts: tuple[Verdict, ...]) -> dict[str, bool]:
    return {verdict.measure: verdict.harmful for verdict in verdicts}


@pytest.mark.parametrize(
    ("canary", "wrong"),
    [
        ({}, set()),
        ({"accept": 0.25}, {"acceptance"}),
        ({"errors": 0.08}, {"errors"}),
        ({"errors": 1.0}, {"errors"}),
        ({"seconds": 1.8}, {"latency"}),
        ({"accept": 0.6, "errors": 0.0, "seconds": 0.5}, set()),
        ({"seconds": 1.1}, set()),  # slower, within the limit
    ],
)
def test_what_is_harmful_is_named(canary: dict[str, float], wrong: set[str]):
    found = by_measure(judge(counts(np.random.default_rng(3), **canary)))
    # Whatever fails everywhere has no verdicts and no times.
    assert {measure for measure, harmful in found.items() if harmful} == wrong


def test_the_arms_own_rates_are_told():
    verdicts = {verdict.measure: verdict for verdict in judge(counts(np.random.default_rng(3), seconds=2.0))}
    assert verdicts["latency"].canary == pytest.approx(2.0, rel=0.05)
    assert verdicts["latency"].control == pytest.approx(1.0, rel=0.05)
    assert verdicts["acceptance"].control == pytest.approx(0.4, abs=0.05)


def test_nothing_is_said_of_a_canary_that_few_have_met():
    few = [one for one in counts(np.random.default_rng(0), errors=1.0) if one.arm == "control" or one.bucket < 5]
    assert not any(verdict.harmful for verdict in judge(few))
    assert judge([]) == judge(())


def test_a_change_of_mood_between_steps_is_no_harm():
    """Most of the canary's turns fall in the bad days: pooled, it would look worse than it is."""
    rows = []
    for step, (mood, share) in enumerate(((0.7, 4), (0.3, 40))):
        for arm, size in (("control", 44 - share), ("canary", share)):
            rows += [Count(step, arm, bucket, size, round(size * mood), size) for bucket in range(BUCKETS)]  # type: ignore[arg-type]
    assert not any(verdict.harmful for verdict in judge(rows))


@given(st.permutations(list(counts(np.random.default_rng(5), size=3))))
def test_the_order_of_counts_does_not_matter(rows: list[Count]):
    one, other = judge(rows), judge(sorted(rows, key=lambda row: (row.arm, row.bucket)))
    for mine, theirs in zip(one, other, strict=True):
        assert mine.p_value == pytest.approx(theirs.p_value)


def test_the_p_value_is_always_valid():
    """Of 400 streams without harm looked at 200 times each, at most a twentieth (and chance) ever go below 0.05."""
    rng = np.random.default_rng(1)
    looks = np.arange(1, 201)
    alarms = 0
    for _ in range(400):
        means = np.cumsum(rng.normal(0, 1, 200)) / looks
        alarms += any(always_valid_p(mean, 1 / math.sqrt(n), 0.3) < 0.05 for n, mean in zip(looks, means, strict=True))
    assert alarms <= 20 + 3 * math.sqrt(20)


@given(st.floats(-3, 3), st.floats(0.01, 3), st.floats(0.01, 1))
def test_more_harm_is_never_less_surprising(harm: float, error: float, scale: float):
    p = always_valid_p(harm, error, scale)
    assert 0.0 <= always_valid_p(harm + 0.1, error, scale) <= p <= 1.0


def test_limits_are_the_callers():
    slow = list(counts(np.random.default_rng(3), seconds=1.5))
    assert by_measure(judge(slow))["latency"]
    assert not by_measure(judge(slow, Limits(latency=1.0)))["latency"]
