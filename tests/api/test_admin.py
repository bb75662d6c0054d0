"""/admin: a release goes out and comes back over HTTP, by keys with the scope admin alone, and all is audited."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from assistant.api.app import create_app
from assistant.rollout.gate import Finding, Gate
from assistant.rollout.service import Rollouts
from assistant.settings import Settings
from tests.api.fakes import ALIEN, FakeEngine, FakeLibrary, ScriptedAssistant, client_of, new_key

GOOD, BAD = "a" * 64, "b" * 64


def check(release: str, live: str | None) -> Finding:
    return Finding("weights", passed=release != BAD, figures="largest spectral norm 912, median 1.1")


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(
        Settings(home=tmp_path),
        ScriptedAssistant(),
        FakeLibrary(ALIEN),
        FakeEngine(),
        rollouts=lambda database: Rollouts.of(database, "sotto", gate=lambda _: Gate([check])),
    )
    async with client_of(app, key=new_key(app, "admin")) as client:
        yield client


async def start(client: httpx.AsyncClient, release: str = GOOD, **more: Any) -> httpx.Response:
    headers = {"idempotency-key": more.pop("key")} if "key" in more else {}
    return await client.post("/admin/rollouts", json={"release": release, "reason": "round 5", **more}, headers=headers)


async def act(client: httpx.AsyncClient, action: str, reason: str = "a reason", key: str = "") -> httpx.Response:
    headers = {"idempotency-key": key} if key else {}
    return await client.post(f"/admin/rollouts:{action}", json={"reason": reason}, headers=headers)


async def test_a_release_goes_out_and_comes_back(admin: httpx.AsyncClient):
    started = (await start(admin, steps=[5, 100])).json()
    assert (started["state"], started["share"], started["replaces"]) == ("running", 0.05, None)
    assert (await act(admin, "pause")).json()["state"] == "paused"
    assert (await act(admin, "resume")).json()["state"] == "running"
    assert (await act(admin, "promote")).json()["state"] == "promoted"
    assert (await admin.get("/admin/status")).json()["live"] == GOOD
    assert (await act(admin, "rollback", "people dislike it")).json()["release"] is None
    assert (await admin.get("/admin/status")).json()["live"] is None
    audit = (await admin.get("/admin/audit")).json()
    assert [line["what"] for line in reversed(audit)] == ["start", "pause", "resume", "promote", "rollback"]
    assert audit[0]["why"] == "people dislike it"
    assert all(line["who"].startswith("key ") for line in audit)
    assert len((await admin.get("/admin/rollouts")).json()) == 2


async def test_the_same_idempotency_key_starts_one_rollout(admin: httpx.AsyncClient):
    one, two = await start(admin, key="k-1"), await start(admin, key="k-1")
    assert one.json() == two.json()
    assert (await start(admin)).status_code == 409


async def test_every_change_is_made_once_however_often_it_is_sent(admin: httpx.AsyncClient):
    await start(admin, steps=[10, 50, 100], manual=True)
    for at, action in enumerate(("pause", "resume", "advance", "promote", "rollback")):
        one, two = await act(admin, action, key=f"k-{at}"), await act(admin, action, key=f"k-{at}")
        assert (one.status_code, one.json()) == (two.status_code, two.json()) == (200, one.json())
    lines = (await admin.get("/admin/audit")).json()
    assert [line["what"] for line in reversed(lines)] == ["start", "pause", "resume", "advance", "promote", "rollback"]
    used = await act(admin, "rollback", key="k-3")
    assert (used.status_code, used.json()["error"]["code"]) == (409, "conflict")


async def test_a_start_that_is_sent_again_does_not_pass_the_gate_again(admin: httpx.AsyncClient):
    override = {"override": "a drill", "key": "k-1"}
    one = await start(admin, BAD, **override)
    assert (await start(admin, BAD, key="k-1")).json() == one.json()
    assert [line["what"] for line in (await admin.get("/admin/audit")).json()] == ["start", "gate overridden"]


async def test_what_cannot_begin_is_refused_before_the_gate_takes_its_minutes(admin: httpx.AsyncClient):
    await start(admin)
    refused = await start(admin, BAD)
    assert "Rollout 1 is running" in refused.json()["error"]["message"]
    await act(admin, "promote")
    assert "live already" in (await start(admin)).json()["error"]["message"]


async def test_a_closed_gate_names_its_figures_and_an_override_is_audited(admin: httpx.AsyncClient):
    refused = await start(admin, BAD)
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "gate_closed"
    assert "spectral norm 912" in refused.json()["error"]["message"]
    assert (await start(admin, BAD, override="a drill")).status_code == 200
    lines = (await admin.get("/admin/audit")).json()
    assert [line["what"] for line in lines] == ["start", "gate overridden", "gate closed"]
    assert lines[1]["why"].startswith("a drill (")


@pytest.mark.parametrize(
    "body",
    [
        {"release": "../../etc", "reason": "r"},
        {"release": GOOD.upper(), "reason": "r"},
        {"release": GOOD},
        {"release": GOOD, "reason": "  "},
        {"release": GOOD, "reason": "r", "steps": [50, 10, 100]},
        {"release": GOOD, "reason": "r", "unknown": 1},
    ],
)
async def test_what_is_no_rollout_is_refused(admin: httpx.AsyncClient, body: dict[str, Any]):
    assert (await admin.post("/admin/rollouts", json=body)).status_code == 400
    assert (await admin.get("/admin/rollouts")).json() == []


async def test_replicas_are_added_drained_and_removed(admin: httpx.AsyncClient):
    url = "http://127.0.0.1:8101"
    asked = {"url": url, "reason": "a second GPU"}
    for _ in range(2):
        added = await admin.post("/admin/replicas", json={**asked, "url": f"{url}/"})
        assert [one["url"] for one in added.json()] == [url]
    assert (await admin.post("/admin/replicas:drain", json=asked)).json()[0]["draining"]
    assert (await admin.post("/admin/replicas:remove", json=asked)).json() == []
    assert (await admin.post("/admin/replicas:remove", json=asked)).status_code == 404
    assert (await admin.post("/admin/replicas", json={"url": url})).status_code == 400
    told = [(line["what"], line["why"]) for line in (await admin.get("/admin/audit")).json()]
    assert told[:2] == [(f"replica {what}", f"{url}: a second GPU") for what in ("removed", "draining")]


@pytest.mark.parametrize(
    "url",
    ["http://8.8.8.8:80", "https://10.0.0.1:1", "http://example.com:1", "file:///etc/passwd", "http://u:p@10.0.0.1"],
)
async def test_a_replica_on_the_open_network_is_refused(admin: httpx.AsyncClient, url: str):
    assert (await admin.post("/admin/replicas", json={"url": url, "reason": "r"})).status_code == 400


async def test_other_keys_and_no_key_are_refused(tmp_path: Path):
    app = create_app(Settings(home=tmp_path), ScriptedAssistant(), FakeLibrary(ALIEN), FakeEngine())
    async with client_of(app) as nobody:
        assert (await nobody.get("/admin/status")).status_code == 403
    async with client_of(app, key=new_key(app)) as somebody:
        assert (await somebody.get("/admin/status")).status_code == 403
        assert (await act(somebody, "promote")).status_code == 403
