"""A verdict can be given, changed and withdrawn; what is kept of it says neither who nor what."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from assistant.errors import InvalidRequest
from assistant.rollout.feedback import FeedbackBox
from assistant.rollout.ledger import Ledger, Plan
from assistant.rollout.receipts import MOST_AGE_DAYS, Receipts
from assistant.state.database import Database
from assistant.state.models import Feedback

NOW = 1_800_000_000.0


class Desk:
    """A ledger with a canary under way, and its feedback."""

    def __init__(self, database: Database) -> None:
        self.database, self.now = database, NOW
        self.ledger = Ledger(database)
        self.rollout = self.ledger.start("r-1", Plan(), "a test", "").id
        self.receipts = Receipts(self.ledger.secret(), lambda: self.now)
        self.box = FeedbackBox(database, self.ledger, self.receipts, lambda: self.now)

    def accepted(self) -> int:
        return sum(count.accepted for count in self.ledger.counts(self.rollout))


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(verdicts=st.lists(st.sampled_from(["accepted", "rejected", "withdrawn"]), min_size=1, max_size=6))
def test_only_the_last_verdict_counts(desk: Desk, verdicts):
    before = desk.accepted()
    identity = desk.receipts.write(desk.rollout, 0, "canary", 5)
    for verdict in verdicts:
        desk.box.give(identity, verdict)
    assert desk.accepted() - before == (verdicts[-1] == "accepted")
    with desk.database.read() as session:
        row = session.get(Feedback, desk.receipts.digest(identity))
        assert (row.verdict if row else "withdrawn") == verdicts[-1]


def test_the_same_verdict_from_many_at_once_counts_once(desk: Desk):
    identity = desk.receipts.write(desk.rollout, 0, "control", 5)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: desk.box.give(identity, "accepted"), range(12)))
    assert desk.accepted() == 1


def test_the_live_release_s_verdicts_are_kept_and_judge_no_rollout(desk: Desk):
    given_ = desk.box.give(desk.receipts.write(desk.rollout, 0, "live", 5), "accepted")
    assert (given_.verdict, given_.before) == ("accepted", "withdrawn")
    assert desk.accepted() == 0


def test_an_id_that_was_made_up_leaves_nothing(desk: Desk):
    with pytest.raises(InvalidRequest):
        desk.box.give("rec_made_up", "accepted")
    with desk.database.read() as session:
        assert session.scalars(select(Feedback)).all() == []


def test_the_database_never_holds_the_id(desk: Desk):
    identity = desk.receipts.write(desk.rollout, 0, "canary", 5)
    desk.box.give(identity, "accepted")
    with desk.database.read() as session:
        for table in ("feedback", "arm_figures", "audit"):
            assert identity not in str(session.execute(text(f"SELECT * FROM {table}")).all())  # noqa: S608


def test_verdicts_too_old_to_change_are_dropped(desk: Desk):
    desk.box.give(desk.receipts.write(desk.rollout, 0, "canary", 5), "accepted")
    assert desk.box.prune() == 0
    desk.now += (MOST_AGE_DAYS + 2) * 86400
    assert desk.box.prune() == 1
    assert desk.accepted() == 1


def test_a_verdict_counts_for_the_release_that_recommended(desk: Desk):
    roles = {"canary": "r-1", "control": None}
    for role, release in roles.items():
        assert desk.box.give(desk.receipts.write(desk.rollout, 0, role, 5), "accepted").release == release
    desk.ledger.promote("a test", "")
    assert desk.box.give(desk.receipts.write(desk.rollout, 0, "live", 5), "accepted").release == "r-1"
    assert desk.box.give(desk.receipts.write(0, 0, "live", 5), "accepted").release is None
