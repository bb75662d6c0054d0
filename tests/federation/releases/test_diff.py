"""How far releases are apart, against the matrices formed in full."""

from __future__ import annotations

import numpy as np
import pytest

from federation.lora import LoraShape
from federation.releases.diff import diff
from federation.releases.verify import verify
from tests.federation.releases.making import MODULES, make, weights


@pytest.fixture
def releases(tmp_path):
    make(tmp_path / "one")
    make(tmp_path / "two", seed=7, cohorts={"global": weights(7, rank=3, tokens=5)}, lora=LoraShape(3, 3.0))
    return verify(tmp_path / "one"), verify(tmp_path / "two")


def test_norms_and_cosines_are_those_of_the_products(releases):
    one, two = releases
    moved = {(part.cohort, part.tensor): part for part in diff(one, two).moved}
    for module in MODULES:
        old, new = (
            scale
            * release.cohorts["global"][f"{module}.lora_B.weight"]
            @ release.cohorts["global"][f"{module}.lora_A.weight"]
            for release, scale in ((one, 2.0), (two, 1.0))
        )
        part = moved["global", module]
        cosine = np.sum(old * new) / np.linalg.norm(old) / np.linalg.norm(new)
        found = (part.before, part.after, part.change, part.cosine)
        expected = (np.linalg.norm(old), np.linalg.norm(new), np.linalg.norm(new - old), cosine)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_release_is_no_way_from_itself(releases):
    found = diff(releases[0], releases[0])
    assert found.facts == {}
    for part in found.moved:
        assert part.cosine == pytest.approx(1.0)
        assert part.change == pytest.approx(0.0, abs=1e-5)


def test_facts_that_differ_are_told_and_what_is_gone_has_no_norm(releases):
    found = diff(*releases)
    assert found.facts["rank"] == (2, 3)
    assert found.facts["cohorts"] == (["c0", "global"], ["global"])
    assert found.facts["soft_prompts"] == ({"c0": 0, "global": 3}, {"global": 5})
    assert "base" not in found.facts
    gone = [part for part in found.moved if part.cohort == "c0"]
    assert gone
    assert all((part.after, part.cosine) == (0.0, None) for part in gone)
