"""The ledger of rollouts: one under way, every change audited, the same for all servers on one database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from assistant.errors import Conflict, InvalidRequest, NotFound
from assistant.rollout.judge import Count
from assistant.rollout.ledger import Ledger, Plan
from assistant.settings import Settings
from assistant.state.database import Database

WHO = "a test"


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)


def test_a_canary_goes_step_by_step_to_live(ledger: Ledger):
    entry = ledger.start("r-1", Plan(), WHO, "round 5")
    shares = [entry.share]
    while entry.state == "running":
        entry = ledger.advance(entry.id, entry.step, WHO, "no harm")
        shares.append(entry.share)
    assert shares[:4] == [0.01, 0.1, 0.5, 1.0]
    assert ledger.traffic().live == "r-1"
    assert ledger.traffic().rollout is None
    assert [line.what for line in reversed(ledger.audit())] == ["start", "advance", "advance", "advance", "promote"]


def test_one_step_is_taken_once_however_many_servers_judge(database_url: str):
    with (
        Database.of(Settings(database_url=database_url)) as one,
        Database.of(Settings(database_url=database_url)) as two,
    ):
        ledgers = [Ledger(one), Ledger(two)]
        entry = ledgers[0].start("r-1", Plan(), WHO, "")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda at: ledgers[at % 2].advance(entry.id, 0, WHO, ""), range(16)))
        assert ledgers[1].get(entry.id).step == 1
        assert ledgers[0].secret() == ledgers[1].secret()


def test_a_rollback_takes_the_canary_away_and_a_second_one_what_was_live(ledger: Ledger):
    first = ledger.start("r-1", Plan(), WHO, "")
    ledger.promote(WHO, "sure")
    second = ledger.start("r-2", Plan(), WHO, "")
    assert second.replaces == "r-1"
    assert ledger.traffic().wanted == {"r-1", "r-2"}
    assert ledger.roll_back(WHO, "worse").state == "rolled_back"
    assert ledger.traffic().live == "r-1"
    ledger.roll_back(WHO, "that too")
    assert ledger.traffic().live is None
    assert ledger.get(first.id).state == "promoted"
    assert [entry.release for entry in ledger.history()] == [None, "r-2", "r-1"]


def test_a_judgement_passed_on_a_rollout_that_has_ended_changes_nothing(ledger: Ledger):
    old = ledger.start("r-1", Plan(), WHO, "")
    ledger.roll_back(WHO, "changed my mind")
    new = ledger.start("r-2", Plan(), WHO, "")
    assert ledger.roll_back(WHO, "harm", rollout=old.id).id == old.id
    assert ledger.get(new.id).state == "running"


def test_the_same_key_starts_one_rollout(ledger: Ledger):
    one = ledger.start("r-1", Plan(), WHO, "", request_key="k")
    assert ledger.start("r-1", Plan(), WHO, "", request_key="k") == one
    with pytest.raises(Conflict, match="was used for"):
        ledger.start("r-2", Plan(), WHO, "", request_key="k")


@pytest.mark.parametrize("action", ["pause", "resume", "step_on", "promote", "roll_back"])
def test_a_change_that_is_asked_for_twice_by_one_key_is_made_once(ledger: Ledger, action: str):
    ledger.start("r-0", Plan(), WHO, "")
    ledger.promote(WHO, "")
    ledger.start("r-1", Plan(), WHO, "")
    if action == "resume":
        ledger.pause(WHO, "")
    act = getattr(ledger, action)
    one = act(WHO, "a reason", "k")
    traffic, told = ledger.traffic(), ledger.audit()
    assert act(WHO, "a reason", "k") == one
    assert (ledger.traffic(), ledger.audit()) == (traffic, told)
    other = "pause" if action != "pause" else "promote"
    with pytest.raises(Conflict, match="'k' was used before"):
        getattr(ledger, other)(WHO, "", "k")


def test_a_rollback_sent_twice_takes_only_the_canary_away_and_an_old_pause_holds_nothing_up(ledger: Ledger):
    ledger.start("r-0", Plan(), WHO, "")
    ledger.promote(WHO, "")
    ledger.start("r-1", Plan(), WHO, "")
    ledger.pause(WHO, "", "k-1")
    ledger.resume(WHO, "", "k-2")
    assert ledger.pause(WHO, "", "k-1").state == "running"
    for _ in range(3):
        ledger.roll_back(WHO, "worse", "k-3")
    assert ledger.traffic().live == "r-0"


def test_what_cannot_be_done_says_why(ledger: Ledger):
    with pytest.raises(Conflict, match="No rollout is under way"):
        ledger.promote(WHO, "")
    with pytest.raises(Conflict, match="base model is live"):
        ledger.roll_back(WHO, "")
    with pytest.raises(NotFound):
        ledger.get(9)
    ledger.start("r-1", Plan(shadow=True), WHO, "")
    with pytest.raises(Conflict, match="promote it or roll it back"):
        ledger.start("r-2", Plan(), WHO, "")
    with pytest.raises(Conflict, match="shadow"):
        ledger.promote(WHO, "")
    ledger.roll_back(WHO, "")
    ledger.start("r-1", Plan(), WHO, "")
    ledger.promote(WHO, "")
    with pytest.raises(Conflict, match="live already"):
        ledger.start("r-1", Plan(), WHO, "")


@pytest.mark.parametrize("steps", [(), (50.0,), (10.0, 5.0, 100.0), (0.0, 100.0), (10.0, 10.0, 100.0)])
def test_steps_rise_to_everyone(steps: tuple[float, ...]):
    with pytest.raises(InvalidRequest, match="rise"):
        Plan(steps)


def test_a_person_takes_a_canary_step_by_step_to_live(ledger: Ledger):
    ledger.start("r-1", Plan((10.0, 50.0, 100.0), manual=True), WHO, "")
    entries = [ledger.step_on("key 1", f"look {at}") for at in range(3)]
    assert [(entry.state, entry.step) for entry in entries] == [("running", 1), ("running", 2), ("promoted", 2)]
    assert ledger.traffic().live == "r-1"
    told = [(line.who, line.what, line.why) for line in reversed(ledger.audit())]
    assert told[1:] == [("key 1", what, f"look {at}") for at, what in enumerate(["advance", "advance", "promote"])]
    with pytest.raises(Conflict, match="No rollout is under way"):
        ledger.step_on(WHO, "")
    ledger.start("r-2", Plan(), WHO, "")
    ledger.pause(WHO, "")
    with pytest.raises(Conflict, match="resume it first"):
        ledger.step_on(WHO, "")
    ledger.roll_back(WHO, "")
    ledger.start("r-2", Plan(shadow=True), WHO, "")
    with pytest.raises(Conflict, match="shadow"):
        ledger.step_on(WHO, "")


def test_a_paused_canary_stays_where_it_is(ledger: Ledger):
    entry = ledger.start("r-1", Plan(), WHO, "")
    assert ledger.pause(WHO, "lunch").state == "paused"
    assert ledger.pause(WHO, "again").state == "paused"
    assert ledger.advance(entry.id, 0, WHO, "").step == 0
    assert ledger.resume(WHO, "").state == "running"
    assert ledger.advance(entry.id, 0, WHO, "").step == 1


def test_counts_add_up(ledger: Ledger):
    entry = ledger.start("r-1", Plan(), WHO, "")
    for _ in range(3):
        ledger.count(entry.id, [Count(0, "canary", 5, 1, 0, 1, 0, 0.5), Count(0, "control", 5, 2, 1, 2, 1, 0.25)])
    ledger.count(entry.id, [Count(0, "canary", 5, accepted=1)])
    found = {(one.arm, one.shown, one.accepted, one.requests, one.errors, one.log_seconds) for one in ledger.counts(1)}
    assert found == {("canary", 3, 1, 3, 0, 1.5), ("control", 6, 3, 6, 3, 0.75)}
