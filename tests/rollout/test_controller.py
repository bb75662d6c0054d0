"""A canary without harm goes live by itself, one with harm goes back by itself, and a person may keep the say."""

from __future__ import annotations

import pytest

from assistant.rollout.arms import BUCKETS
from assistant.rollout.controller import WHO as CANARY
from assistant.rollout.controller import Controller
from assistant.rollout.judge import Count
from assistant.rollout.ledger import STEPS, Ledger, Plan
from assistant.state.database import Database

WHO = "a test"


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(database: Database, clock: Clock) -> Ledger:
    return Ledger(database, clock)


def turns(ledger: Ledger, rollout: int, step: int, accepted: int = 8) -> None:
    """20 turns a group of callers and arm; the control accepts 8 of them, the canary this many."""
    for arm, taken in (("control", 8), ("canary", accepted)):
        ledger.count(rollout, [Count(step, arm, bucket, 20, taken, 20, 0, 0.0) for bucket in range(BUCKETS)])  # type: ignore[arg-type]


def test_a_canary_without_harm_goes_live(ledger: Ledger, clock: Clock):
    controller = Controller(ledger, clock=clock)
    entry = ledger.start("r-1", Plan((10.0, 100.0), 60.0, 100), WHO, "")
    controller.step()
    clock.now += 61
    controller.step()
    assert ledger.get(entry.id).step == 0, "nobody has met it yet"
    for step in (0, 1):
        turns(ledger, entry.id, step)
        clock.now += 61
        controller.step()
    assert ledger.traffic().live == "r-1"
    assert {line.who for line in ledger.audit()} == {WHO, CANARY}


def test_harm_rolls_back_with_its_figures(ledger: Ledger, clock: Clock):
    entry = ledger.start("r-1", Plan(step_requests=10**6), WHO, "")
    turns(ledger, entry.id, 0, accepted=2)
    Controller(ledger, clock=clock).step()
    found = ledger.get(entry.id)
    assert found.state == "rolled_back"
    assert "acceptance: 10.0 % against 40.0 %" in str(found.reason)
    assert ledger.traffic().live is None


@pytest.mark.parametrize("plan", [Plan(STEPS, 0, 0, manual=True), Plan(STEPS, 0, 0, shadow=True)])
def test_a_person_or_a_shadow_waits(ledger: Ledger, clock: Clock, plan: Plan):
    entry = ledger.start("r-1", plan, WHO, "")
    turns(ledger, entry.id, 0)
    clock.now += 10_000
    Controller(ledger, clock=clock).step()
    assert (ledger.get(entry.id).state, ledger.get(entry.id).step) == ("running", 0)


def test_a_paused_canary_is_still_rolled_back_by_harm(ledger: Ledger, clock: Clock):
    entry = ledger.start("r-1", Plan(step_seconds=0, step_requests=0), WHO, "")
    ledger.pause(WHO, "")
    turns(ledger, entry.id, 0)
    controller = Controller(ledger, clock=clock)
    controller.step()
    assert ledger.get(entry.id).state == "paused"
    turns(ledger, entry.id, 0, accepted=0)
    controller.step()
    assert ledger.get(entry.id).state == "rolled_back"
