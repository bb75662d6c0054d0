"""Two servers on one database and the same replicas agree on the canary and wait for each other's replies."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistant.api.app import create_app
from assistant.rollout.ledger import Plan
from assistant.rollout.service import Rollouts
from assistant.settings import Settings
from assistant.state.database import Database
from tests.api.fakes import ALIEN, FakeEngine, FakeLibrary, ScriptedAssistant, client_of, new_key
from tests.rollout.fleet import WHO, Stage

CALLERS = [f"caller {number}" for number in range(200)]


@pytest.fixture
def servers(database: Database, tmp_path: Path) -> tuple[Stage, Stage]:
    one, two = Stage(database, tmp_path), Stage(database, tmp_path)
    two.vllms, two.source = one.vllms, one.source
    return one, two


async def both(servers: tuple[Stage, Stage], seconds: float = 0.0) -> None:
    for server in servers:
        server.now += seconds
        await server.reconciler.step()


async def test_the_same_people_meet_the_canary_on_both(servers: tuple[Stage, Stage]):
    one, _ = servers
    one.ledger.start(one.release(1), Plan((25.0, 100.0)), WHO, "")
    await both(servers)
    met = []
    for server in servers:
        routes = {}
        for caller in CALLERS:
            with server.router.route(caller) as route:
                routes[caller] = (route.role, route.bucket, route.release)
        met.append(routes)
    assert met[0] == met[1]
    assert 20 < sum(role == "canary" for role, _, _ in met[0].values()) < 80


async def test_a_release_stays_while_the_other_server_has_a_reply_under_way(servers: tuple[Stage, Stage]):
    one, two = servers
    digest = one.release(1)
    one.ledger.start(digest, Plan((100.0,)), WHO, "")
    await both(servers)
    with two.router.route("somebody") as route:
        assert route.release == digest
        one.ledger.roll_back(WHO, "")
        for _ in range(4):
            await both(servers, seconds=4.0)
        assert one.held() == [{digest}, {digest}]
    for _ in range(4):
        await both(servers, seconds=4.0)
    assert one.held() == [set(), set()]


async def test_both_count_into_one_canary_and_share_a_keys_limit(database_url: str, tmp_path: Path):
    settings = Settings(home=tmp_path, database_url=database_url)

    def server():
        rollouts = lambda database: Rollouts.of(database, "sotto")  # noqa: E731
        return create_app(settings, ScriptedAssistant(), FakeLibrary(ALIEN), FakeEngine(), rollouts=rollouts)

    apps = [server(), server()]
    key = new_key(apps[0], requests_per_minute=4)
    admin = new_key(apps[0], "admin")
    async with client_of(apps[0], key=admin) as first, client_of(apps[1], key=admin) as second:
        body = {"release": "a" * 64, "reason": "round 5"}
        started = (await first.post("/admin/rollouts", json=body)).json()
        assert (await second.get("/admin/status")).json()["rollout"]["id"] == started["id"]
        assert (await second.post("/admin/rollouts", json=body)).status_code == 409
        await second.post("/admin/rollouts:promote", json={"reason": "fine"})
        assert (await first.get("/admin/status")).json()["live"] == "a" * 64
    found = []
    for turn in range(6):
        async with client_of(apps[turn % 2], key=key) as client:
            found.append((await client.get("/v1/models")).status_code)
    assert found == [200] * 4 + [429] * 2
    for app in apps:
        app.state.access.database.close()
