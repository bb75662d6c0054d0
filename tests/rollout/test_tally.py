"""What arms do is counted in memory and reaches the ledger whole, also over an outage of the database."""

from __future__ import annotations

import math

import pytest

from assistant.errors import StateUnavailable
from assistant.rollout.judge import judge
from assistant.rollout.ledger import Ledger, Plan
from assistant.rollout.tally import Tally
from assistant.state.database import Database


def test_turns_add_up_and_survive_a_database_that_is_away(database: Database, monkeypatch: pytest.MonkeyPatch):
    ledger = Ledger(database)
    rollout = ledger.start("r-1", Plan(), "a test", "").id
    tally = Tally(ledger)
    tally.turn(rollout, 0, "canary", 3, 2.0, shown=True)
    tally.turn(rollout, 0, "canary", 3, None, shown=False)

    def away(*_: object) -> None:
        raise StateUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "count", away)
        tally.write()
    assert ledger.counts(rollout) == []
    tally.turn(rollout, 0, "canary", 3, 0.5, shown=True)
    tally.write()
    tally.write()
    (count,) = ledger.counts(rollout)
    assert (count.shown, count.requests, count.errors) == (2, 3, 1)
    assert count.log_seconds == pytest.approx(math.log(2.0) + math.log(0.5))


def test_choices_in_the_shadow_are_counted_apart_and_judge_nobody(database: Database):
    ledger = Ledger(database)
    rollout = ledger.start("r-1", Plan(shadow=True), "a test", "").id
    tally = Tally(ledger)
    tally.shadow(rollout, 0, 3, 0.5, agreed=True)
    tally.shadow(rollout, 0, 3, 2.0, agreed=False)
    tally.shadow(rollout, 0, 3, None, agreed=False)
    tally.write()
    (count,) = ledger.counts(rollout)
    assert (count.arm, count.shown, count.accepted, count.requests, count.errors) == ("shadow", 2, 1, 3, 1)
    assert count.log_seconds == pytest.approx(0.0)
    assert not any(verdict.harmful or verdict.harm for verdict in judge([count]))
