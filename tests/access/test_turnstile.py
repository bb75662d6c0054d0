"""The queue before the turns: bounded, never idle while somebody waits, and fair."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from assistant.access.turnstile import LONGEST_RETRY, FairQueue, Ticket, Turnstile
from assistant.errors import Overloaded

PLACES, SEATS = 3, 4
CALLERS = ("ada", "bob", "cyd")


class Queueing(RuleBasedStateMachine):
    """Callers come, wait, run and go in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue(PLACES, SEATS)
        self.present: list[Ticket] = []

    def waits(self, caller: str) -> int:
        return sum(not ticket.runs for ticket in self.present if ticket.caller == caller)

    def settle(self) -> list[Ticket]:
        """Takes those turned away out of the present ones."""
        gone = [ticket for ticket in self.present if ticket.refused]
        self.present = [ticket for ticket in self.present if not ticket.refused]
        return gone

    @rule(caller=st.sampled_from(CALLERS))
    def arrive(self, caller: str) -> None:
        before = {name: self.waits(name) for name in CALLERS}
        ticket = Ticket(caller)
        self.present.append(ticket)
        self.queue.arrive(ticket)
        gone = self.settle()
        assert len(gone) <= 1
        if gone:
            assert sum(before.values()) == SEATS
            most = max(before.values())
            if gone == [ticket]:
                assert before[caller] >= most - 1
            else:
                # Whoever lost a seat had more of them than the newcomer has now.
                assert before[gone[0].caller] == most > self.waits(caller)

    @precondition(lambda self: self.present)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.present))
        running = {name: self.queue.running[name] for name in CALLERS}
        waiting = {name: self.waits(name) for name in CALLERS}
        self.present.remove(ticket)
        started = [other for other in self.present if other.runs]
        self.queue.leave(ticket)
        new = [other for other in self.present if other.runs and other not in started]
        if ticket.runs:
            running[ticket.caller] -= 1
            assert len(new) == (1 if sum(waiting.values()) else 0)
            for other in new:
                assert running[other.caller] == min(running[name] for name in CALLERS if waiting[name])
        else:
            assert new == []

    @invariant()
    def bounded_and_busy(self) -> None:
        running = sum(ticket.runs for ticket in self.present)
        assert running == self.queue.running.total() <= PLACES
        assert len(self.present) - running == self.queue.length <= SEATS
        assert running == PLACES or self.queue.length == 0


TestQueueing = Queueing.TestCase


@given(st.lists(st.sampled_from(["many"] * 20 + ["few"]), min_size=30, max_size=120))
def test_who_sends_little_is_served_beside_who_sends_much(arrivals):
    """A caller with at most one turn at a time is never turned away by another who floods the queue."""
    queue, running = FairQueue(2, 2), []
    tickets = []
    for caller in arrivals:
        if caller == "few" and any(ticket.caller == "few" and not ticket.refused for ticket in tickets):
            continue
        ticket = Ticket(caller)
        tickets.append(ticket)
        queue.arrive(ticket)
        running = [one for one in tickets if one.runs]
        if len(tickets) % 5 == 0 and running:
            tickets.remove(running[0])
            queue.leave(running[0])
    assert not any(ticket.refused for ticket in tickets if ticket.caller == "few")


async def test_an_overload_is_refused_at_once_and_evenly():
    turnstile = Turnstile(2, 2, patience=5)
    release = asyncio.Event()
    served, waits = dict.fromkeys(("loud", "calm"), 0), []

    async def turn(caller: str) -> None:
        try:
            with turnstile.ticket(caller) as ticket:
                await turnstile.turn(ticket)
                await release.wait()
                served[caller] += 1
        except Overloaded as refused:
            waits.append(refused.retry_after)

    loud = [asyncio.create_task(turn("loud")) for _ in range(40)]
    await asyncio.sleep(0)
    calm = [asyncio.create_task(turn("calm")) for _ in range(1)]
    await asyncio.sleep(0.01)
    assert sum(task.done() for task in loud) == 37
    assert not calm[0].done()
    release.set()
    await asyncio.gather(*loud, *calm)
    assert served == {"loud": 3, "calm": 1}
    assert len(waits) == 37
    assert all(1 <= seconds <= LONGEST_RETRY for seconds in waits)


async def test_a_turn_waits_only_so_long_and_leaves_no_trace():
    turnstile = Turnstile(1, 1, patience=0.02)
    with turnstile.ticket("ada") as first:
        await turnstile.turn(first)
        with pytest.raises(Overloaded), turnstile.ticket("bob") as second:
            await turnstile.turn(second)
        with turnstile.ticket("bob"):
            pass
    with turnstile.ticket("bob") as third:
        await turnstile.turn(third)
        assert third.runs


async def test_who_is_cancelled_gives_the_place_back():
    turnstile = Turnstile(1, 1, patience=5)

    async def stay() -> None:
        with turnstile.ticket("ada") as ticket:
            await turnstile.turn(ticket)
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(stay()) for _ in range(2)]
    await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    with turnstile.ticket("bob") as ticket:
        assert ticket.runs
