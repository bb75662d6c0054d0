"""Servers on one database agree on which releases may be taken away, whatever order they ask in."""

from __future__ import annotations

import pytest

from assistant.rollout.ledger import Ledger, Plan
from assistant.rollout.residence import FRESH_SECONDS, Residences
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


@pytest.fixture
def servers(database: Database, ledger: Ledger, clock: Clock) -> tuple[Residences, Residences]:
    return Residences(database, ledger, clock), Residences(database, ledger, clock)


def test_what_another_uses_does_not_leave(servers: tuple[Residences, Residences]):
    one, two = servers
    one.tell({"r-1": 3, "r-2": 0})
    assert two.tell({}).used == {"r-1", "r-2"}
    assert two.leave(["r-1", "r-2", "r-3"]) == {"r-3"}
    one.tell({"r-2": 1})
    assert two.leave(["r-1", "r-2"]) == {"r-1"}


def test_what_the_ledger_wants_does_not_leave(servers: tuple[Residences, Residences], ledger: Ledger):
    one, _ = servers
    ledger.start("r-1", Plan(), WHO, "")
    assert one.leave(["r-1", "r-2"]) == {"r-2"}


def test_whoever_wants_what_is_leaving_sees_it_until_it_has_left(
    servers: tuple[Residences, Residences], ledger: Ledger
):
    one, two = servers
    assert one.leave(["r-1"]) == {"r-1"}
    ledger.start("r-1", Plan(), WHO, "")
    one.tell({})  # as it does all the time
    assert two.others().leaving == {"r-1"}
    assert one.others().leaving == frozenset()
    one.left()
    assert two.others().leaving == frozenset()
    assert one.leave(["r-1"]) == frozenset()


def test_two_may_take_the_same_away(servers: tuple[Residences, Residences]):
    one, two = servers
    assert one.leave(["r-1"]) == two.leave(["r-1"]) == {"r-1"}


def test_a_server_that_tells_nothing_any_more_is_taken_for_dead(servers: tuple[Residences, Residences], clock: Clock):
    one, two = servers
    one.tell({"r-1": 1})
    one.leave(["r-2"])
    clock.now += FRESH_SECONDS + 1
    assert two.others() == (frozenset(), frozenset())
    assert two.leave(["r-1"]) == {"r-1"}
