"""The gate's checks: what a release may not be, and how its figures are held beside the live one's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from assistant.rollout.checks import Ranking, Talk, even, no_worse, talks_no_worse, whole, within_budget
from assistant.rollout.gate import Finding, Gate, GateClosed
from federation.releases.base import Served
from federation.releases.store import Store
from federation.releases.verify import Limits
from tests.federation.releases.making import BASE, MODULES, make, replace_file

LIVE, RELEASE = "live", "release"


def ranking(*ndcg: float, cohorts: tuple[str, ...] = ()) -> Ranking:
    return Ranking(np.array(ndcg), cohorts or ("global",) * len(ndcg), np.arange(len(ndcg)))


def found(check, after, before) -> Finding:
    return check(lambda release: after if release == RELEASE else before)(RELEASE, LIVE)


def test_a_release_that_ranks_as_well_passes_and_one_that_ranks_worse_does_not():
    draw = np.random.default_rng(0)
    before = draw.uniform(0.2, 0.8, 200)
    assert found(no_worse, ranking(*before), ranking(*before)).passed
    assert found(no_worse, ranking(*(before + draw.normal(0, 0.1, 200))), ranking(*before)).passed
    worse = found(no_worse, ranking(*(before - 0.1)), ranking(*before))
    assert not worse.passed
    assert "overall -0.100 (-0.100 to -0.100)" in worse.figures


def test_harm_to_one_cohort_alone_or_to_the_least_active_closes_the_gate():
    before, cohorts = np.full(100, 0.5), ("c0",) * 80 + ("c1",) * 20
    after = np.where(np.array(cohorts) == "c1", 0.3, 0.6)
    finding = found(no_worse, ranking(*after, cohorts=cohorts), ranking(*before, cohorts=cohorts))
    assert not finding.passed
    assert "c1 -0.200" in finding.figures
    least = np.where(np.arange(100) < 10, 0.1, 0.6)
    assert not found(no_worse, ranking(*least), ranking(*before)).passed


def test_replies_must_be_as_often_grounded_and_sound():
    good = {f"t{at}": True for at in range(50)}
    half = {turn: at % 2 == 0 for at, turn in enumerate(good)}
    assert found(talks_no_worse, Talk(good), Talk(good)).passed
    finding = found(talks_no_worse, Talk(half), Talk(good))
    assert not finding.passed
    assert "50.0 % of 50 grounded" in finding.figures
    assert found(talks_no_worse, Talk({}), Talk({})).passed


def test_files_weights_and_budget_are_looked_at(tmp_path: Path):
    store, limits, served = Store(tmp_path / "releases"), Limits(rank=8), Served(BASE, MODULES)

    def stored(seed: int, **changes: object) -> str:
        make(tmp_path / f"made-{seed}", seed=seed, **changes)
        return store.add(tmp_path / f"made-{seed}").digest

    good = stored(1, rounds=[{"epsilon": 3.0}])
    missing: list[str] = []
    gate = Gate([whole(store, limits, served, missing.append), even(store), within_budget(store, 8.0)])
    assert [one.check for one in gate.pass_(good, None)] == ["files", "weights", "privacy budget"]
    with pytest.raises(GateClosed, match=r"ε 3.00 of 1.00"):
        Gate([within_budget(store, 1.0)]).pass_(good, None)
    with pytest.raises(GateClosed, match=r"^The gate is closed. files: [^.].*[^.]\. Mend the release"):
        gate.pass_("f" * 64, None)
    assert missing == ["f" * 64]
    replace_file(store.root / good, "adapters/global/adapter_model.safetensors", b"no weights")
    (finding,) = gate.findings(good, None)
    assert not finding.passed
