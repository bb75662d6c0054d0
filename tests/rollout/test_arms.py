"""Who meets the canary is decided by a keyed hash: the same people while its share grows, others in another rollout."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from assistant.rollout.arms import BUCKETS, HOLDOUT, place

SECRET = bytes(range(32))


@given(st.text(), st.integers(0, 2**31), st.floats(0, 1), st.floats(0, 1))
def test_who_is_in_the_canary_stays_in_it_while_its_share_grows(caller: str, rollout: int, one: float, other: float):
    where = place(caller, rollout, SECRET)
    low, high = sorted((one, other))
    assert where == place(caller, rollout, SECRET)
    assert not (where.arm(low) == "canary" and where.arm(high) == "control")
    assert where.arm(0.0) == "control"


def test_the_share_is_met_in_every_group_of_callers():
    places = [place(f"caller {number}", 7, SECRET) for number in range(20_000)]
    canary = [one.bucket for one in places if one.arm(0.1) == "canary"]
    assert abs(len(canary) - 2000) < 4 * np.sqrt(20_000 * 0.1 * 0.9)
    assert set(canary) == set(range(BUCKETS))


def test_a_share_of_all_callers_leaves_a_control_to_judge_beside():
    places = [place(f"caller {number}", 7, SECRET) for number in range(20_000)]
    control = [one.bucket for one in places if one.arm(1.0) == "control"]
    assert abs(len(control) - 20_000 * HOLDOUT) < 4 * np.sqrt(20_000 * HOLDOUT * (1 - HOLDOUT))
    assert set(control) == set(range(BUCKETS))


def test_another_rollout_or_secret_draws_anew():
    callers = [f"caller {number}" for number in range(2000)]

    def canary(rollout: int, secret: bytes) -> set[str]:
        return {caller for caller in callers if place(caller, rollout, secret).arm(0.5) == "canary"}

    first = canary(1, SECRET)
    for other in (canary(2, SECRET), canary(1, SECRET[::-1])):
        assert 0.4 < len(first & other) / len(first) < 0.6
