"""Rate windows: never more than the limit in any minute, however many ask, on every database."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerMinute
from limits.strategies import MovingWindowRateLimiter

from assistant.access.keyring import Caller
from assistant.access.limiter import Limiter
from assistant.access.windows import SharedWindows, WindowStorage
from assistant.errors import RateLimited, StateUnavailable
from assistant.settings import Settings
from assistant.state.database import Database
from tests.access.test_keys import Clock

MINUTE = 60
steps = st.lists(st.tuples(st.one_of(st.integers(0, 70), st.floats(0, 70)), st.integers(1, 6)), min_size=1, max_size=40)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage(database, clock) -> WindowStorage:
    return WindowStorage(database, clock)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 10), asked=steps)
def test_no_window_anywhere_holds_more_than_its_limit(storage, clock, limit, asked):
    storage.clear("law")
    admitted: list[tuple[float, int]] = []
    for pause, amount in asked:
        clock.now += pause
        taken = storage.take("law", limit, MINUTE, amount)
        free = limit - sum(cost for at, cost in admitted if clock.now < at + MINUTE)
        # As much as fits is let through, and never more.
        assert (taken.entry is not None) == (amount <= free)
        if taken.entry is not None:
            admitted.append((clock.now, amount))
            free -= amount
        assert taken.remaining == free
    for start, _ in admitted:
        assert sum(cost for at, cost in admitted if start <= at < start + MINUTE) <= limit


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 10), asked=steps)
def test_after_the_wait_there_is_enough_and_not_before(storage, clock, limit, asked):
    storage.clear("law")
    for pause, amount in asked:
        clock.now += pause
        taken = storage.take("law", limit, MINUTE, amount)
        if amount > limit:
            assert math.isinf(taken.wait)
        elif taken.entry is None:
            clock.now += taken.wait - 0.001
            assert storage.take("law", limit, MINUTE, amount).entry is None
            clock.now += 0.002
            assert storage.take("law", limit, MINUTE, amount).entry is not None


def test_processes_on_one_database_share_a_window(database_url):
    where = Settings(database_url=database_url)
    with Database.of(where) as one, Database.of(where) as two:
        windows = [SharedWindows(WindowStorage(database)) for database in (one, two)]
        item = RateLimitItemPerMinute(25)
        with ThreadPoolExecutor(8) as pool:
            taken = list(pool.map(lambda n: windows[n % 2].take(item, "ada").entry, range(60)))
        assert sum(entry is not None for entry in taken) == 25
        assert len(set(taken) - {None}) == 25


def test_the_librarys_own_strategy_runs_on_it(storage, clock):
    limiter, item = MovingWindowRateLimiter(storage), RateLimitItemPerMinute(3)
    began = clock.now
    assert [limiter.hit(item, "ada") for _ in range(4)] == [True, True, True, False]
    assert not limiter.test(item, "ada")
    assert limiter.test(item, "bob")
    assert limiter.get_window_stats(item, "ada") == (began + MINUTE, 0)
    clock.now += MINUTE
    assert limiter.hit(item, "ada", cost=2)
    limiter.clear(item, "ada")
    assert limiter.get_window_stats(item, "ada").remaining == 3
    assert storage.check()
    limiter.hit(item, "ada")
    assert storage.reset() == 1
    with pytest.raises(NotImplementedError):
        storage.incr("ada", MINUTE)


def test_a_share_is_settled_up_and_down(storage, clock):
    first = storage.take("a", 100, MINUTE, 60)
    storage.settle(first.entry, 10)
    clock.now += 1
    second = storage.take("a", 100, MINUTE, 90)
    assert second.remaining == 0
    storage.settle(second.entry, 250)
    clock.now += 1
    refused = storage.take("a", 100, MINUTE, 1)
    assert (refused.entry, refused.remaining, refused.reset) == (None, 0, MINUTE - 1)
    clock.now += MINUTE - 1.5
    assert storage.take("a", 100, MINUTE, 1).entry is None
    clock.now += 0.5
    assert storage.take("a", 100, MINUTE, 100).entry is not None


async def test_each_caller_has_windows_of_its_own(storage):
    limiter = Limiter(SharedWindows(storage))
    ada, bob = (Caller(name, frozenset(), 2, 100) for name in ("ada", "bob"))
    for caller in (ada, bob):
        for _ in range(2):
            (await limiter.take(caller, "requests")).check()
        with pytest.raises(RateLimited, match="2 requests a minute") as refused:
            (await limiter.take(caller, "requests")).check()
        assert 59 <= refused.value.retry_after <= 60
        (await limiter.take(caller, "tokens", 100)).check()
    with pytest.raises(RateLimited, match="This request alone") as never:
        (await limiter.take(ada, "tokens", 101)).check()
    assert never.value.retry_after is None


async def test_no_limit_asks_no_database(clock):
    limiter = Limiter(SharedWindows(WindowStorage(None, clock)))  # type: ignore[arg-type]
    assert await limiter.take(Caller("ada", frozenset(), 0, 0), "tokens", 10**9) is None


@pytest.mark.postgres
def test_a_database_that_went_away_is_said_to_be_away(postgres):
    url = postgres.new_database()
    with Database.of(Settings(database_url=url)) as database:
        storage = WindowStorage(database)
        assert storage.check()
        postgres.drop(url)
        assert not storage.check()
        with pytest.raises(StateUnavailable):
            storage.take("a", 1, MINUTE, 1)
