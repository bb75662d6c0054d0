"""Server optimizers against their formulas, and weights within their bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.aggregation.optimizers import create
from federation.aggregation.weighting import bounded
from tests.federation.aggregation.making import adapter


def test_fedavg_takes_the_aggregate_or_a_part_of_the_way():
    current, target = adapter(0), adapter(1)
    assert create("fedavg").step({}, current, target) == (target, {})
    half, state = create("fedavg", learning_rate=0.5).step({}, current, target)
    assert state == {}
    for name in current:
        np.testing.assert_allclose(half[name], (current[name] + target[name]) / 2, atol=1e-6)


def test_fedadam_is_the_paper_s_over_two_rounds():
    optimizer = create("fedadam", learning_rate=0.1, beta_1=0.9, beta_2=0.99, tau=0.01)
    x0, t0, t1 = 1.0, 3.0, 2.0
    one, state = optimizer.step({}, {"soft_prompt": np.float32([[x0]])}, {"soft_prompt": np.float32([[t0]])})
    m, v = 0.1 * (t0 - x0), 0.01 * (t0 - x0) ** 2
    x1 = x0 + 0.1 * m / (v**0.5 + 0.01)
    assert one["soft_prompt"][0, 0] == pytest.approx(x1, rel=1e-5)
    two, _ = optimizer.step(state, one, {"soft_prompt": np.float32([[t1]])})
    m, v = 0.9 * m + 0.1 * (t1 - x1), 0.99 * v + 0.01 * (t1 - x1) ** 2
    assert two["soft_prompt"][0, 0] == pytest.approx(x1 + 0.1 * m / (v**0.5 + 0.01), rel=1e-5)


def test_unknown_optimizers_and_options_are_refused():
    with pytest.raises(ValueError, match="fedavg or fedadam"):
        create("sgd")
    with pytest.raises(ValueError, match="learning_rate"):
        create("fedadam", rate=1.0)


@pytest.mark.parametrize(
    ("name", "option", "values", "said"),
    [
        ("fedavg", "learning_rate", (0.0, -1.0), "learning_rate is a finite number above 0"),
        ("fedadam", "learning_rate", (0, float("inf")), "learning_rate is a finite number above 0"),
        ("fedadam", "tau", (0.0, -1e-3), "tau is a finite number above 0"),
        ("fedadam", "beta_1", (1.0, -0.1), "beta_1 is a finite number of 0 or more and below 1"),
        ("fedadam", "beta_2", (1, 2.0), "beta_2 is a finite number of 0 or more and below 1"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_its_option(name, option, values, said):
    for value in (*values, float("nan"), "0.5", None, True):
        with pytest.raises(ValueError, match=said):
            create(name, **{option: value})


@given(st.integers(0, 10**9), st.integers(1, 1000))
def test_no_device_weighs_more_than_the_bound_or_less_than_one(examples: int, most: int):
    assert 1 <= bounded(examples, most) <= most
    assert bounded(examples, 1) == 1


def test_a_tensor_that_rests_is_not_moved_by_old_momentum():
    optimizer, current = create("fedadam"), adapter(0)
    one, state = optimizer.step({}, current, adapter(1))
    two, after = optimizer.step(state, one, one)
    assert all(np.array_equal(two[name], one[name]) for name in one)
    assert after.keys() == state.keys()
