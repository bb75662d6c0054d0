"""Replicas are kept at what the ledger wants: what is missing is loaded, what nobody needs taken away in time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from assistant.errors import EngineUnavailable
from assistant.rollout.ledger import Plan
from assistant.rollout.reconcile import IDLE_SECONDS, PATIENCE_SECONDS
from assistant.rollout.replicas import Replicas
from assistant.rollout.residence import Residences
from assistant.state.database import Database
from tests.federation.releases.making import replace_file
from tests.rollout.fleet import URLS, WHO, Stage


@pytest.fixture
def stage(database: Database, tmp_path: Path) -> Stage:
    return Stage(database, tmp_path)


async def promote(stage: Stage, digest: str) -> None:
    stage.ledger.start(digest, Plan(), WHO, "")
    await stage.reconciler.step()
    stage.ledger.promote(WHO, "")
    await stage.reconciler.step()


async def test_a_release_is_fetched_and_loaded_on_every_replica_before_it_is_met(stage: Stage):
    digest = stage.release(1)
    stage.ledger.start(digest, Plan((100.0,)), WHO, "")
    assert stage.router.traffic.rollout is None
    await stage.reconciler.step()
    assert stage.held() == [{digest}, {digest}]
    assert stage.source.fetched == [digest]
    with stage.router.route("somebody") as route:
        assert (route.role, route.release, route.voice.model) == ("canary", digest, f"{digest}.global")
        assert route.voice.soft_prompt is not None
        assert route.voice.adapter.digest == digest


async def test_a_restarted_replica_gets_back_what_it_lost(stage: Stage):
    digest = stage.release(1)
    await promote(stage, digest)
    stage.vllms[URLS[0]].restart()
    await stage.reconciler.step()
    assert stage.held() == [{digest}, {digest}]


async def test_a_replica_that_is_down_is_not_asked_and_is_again_once_it_is_back(stage: Stage):
    digest = stage.release(1)
    await promote(stage, digest)
    stage.vllms[URLS[0]].down = True
    await stage.reconciler.step()
    replicas = stage.router.fleet.replicas
    assert not replicas[URLS[0]].holds(f"{digest}.global")
    for _ in range(3):
        await stage.router.fleet.label_logprobs([1], [0, 1], model=f"{digest}.global")
    stage.vllms[URLS[0]].down = False
    stage.vllms[URLS[0]].restart()
    await stage.reconciler.step()
    assert replicas[URLS[0]].holds(f"{digest}.global")


async def test_a_replica_that_does_not_tell_what_it_holds_is_not_asked_until_it_does(stage: Stage):
    digest = stage.release(1)
    await promote(stage, digest)
    replica = stage.router.fleet.replicas[URLS[0]]
    stage.vllms[URLS[0]].mute = True
    await stage.reconciler.step()
    assert not replica.holds(f"{digest}.global")
    assert not replica.holds("sotto")
    stage.vllms[URLS[0]].mute = False
    await stage.reconciler.step()
    assert replica.holds(f"{digest}.global")


async def test_a_call_that_a_dying_replica_refuses_is_made_elsewhere(stage: Stage):
    digest = stage.release(1)
    await promote(stage, digest)
    stage.vllms[URLS[0]].down = True
    for _ in range(3):
        await stage.router.fleet.label_logprobs([1], [0, 1], model=f"{digest}.global")
    stage.vllms[URLS[1]].down = True
    with pytest.raises(EngineUnavailable):
        await stage.router.fleet.label_logprobs([1], [0, 1], model=f"{digest}.global")


async def test_a_replica_that_lost_an_adapter_unnoticed_is_passed_over(stage: Stage):
    digest = stage.release(1)
    await promote(stage, digest)
    lost = stage.vllms[URLS[0]]
    lost.restart()
    lost.refuse = "nothing"
    replica = stage.router.fleet.replicas[URLS[0]]
    assert replica.holds(f"{digest}.global")
    await stage.reconciler.step()
    assert digest in stage.held()[0]


async def test_what_was_replaced_stays_until_it_is_idle_and_its_folder_goes_later(stage: Stage):
    first, second, third = (stage.release(seed) for seed in (1, 2, 3))
    await promote(stage, first)
    with stage.router.route("somebody") as route:
        assert route.release == first
        for digest in (second, third):
            await promote(stage, digest)
            stage.now += 10
            await stage.reconciler.step()
        assert all(first in held for held in stage.held())
    for _ in range(3):
        stage.now += 6
        await stage.reconciler.step()
    assert stage.held() == [{third}, {third}]
    assert set(stage.source.store.digests()) == {first, second, third}
    stage.now += IDLE_SECONDS
    await stage.reconciler.step()
    # What a rollback may want at once is kept on disk.
    assert set(stage.source.store.digests()) == {second, third}


async def test_a_release_that_another_program_of_the_machine_reads_keeps_its_folder(stage: Stage):
    """`sotto round run` registers from the store, and `sotto device tune` reads from it, beside a running server."""
    digest = stage.release(1)
    await stage.reconciler.step()
    stage.source.fetch(digest)
    for _ in range(5):
        stage.now += 60
        await stage.reconciler.step()
    assert digest in stage.source.store
    stage.now += IDLE_SECONDS
    await stage.reconciler.step()
    assert digest not in stage.source.store


async def test_a_reply_under_way_on_another_server_keeps_a_release(database: Database, stage: Stage, tmp_path: Path):
    other = Stage(database, tmp_path)
    other.source, other.vllms = stage.source, stage.vllms
    first, second = stage.release(1), stage.release(2)
    await promote(stage, first)
    await other.reconciler.step()
    with other.router.route("somebody"):
        await promote(stage, second)
        for _ in range(3):
            other.now = stage.now = stage.now + 6
            await other.reconciler.step()
            await stage.reconciler.step()
        assert all(first in held for held in stage.held())
    for _ in range(3):
        other.now = stage.now = stage.now + 6
        await other.reconciler.step()
        await stage.reconciler.step()
    assert stage.held() == [{second}, {second}]


async def test_a_server_that_is_behind_keeps_what_it_routes_to(database: Database, stage: Stage, tmp_path: Path):
    other = Stage(database, tmp_path)
    other.source, other.vllms = stage.source, stage.vllms
    first, second = stage.release(1), stage.release(2)
    await promote(stage, first)
    await other.reconciler.step()
    await promote(stage, second)
    for _ in range(4):
        # The other is in the middle of a long step: it still routes to the first, and says so.
        other.now = stage.now = stage.now + 6
        await other.reconciler.tell()
        await stage.reconciler.step()
    with other.router.route("somebody") as route:
        assert route.release == first
    assert all(first in held for held in stage.held())


async def test_what_a_dead_server_used_is_taken_away(database: Database, stage: Stage, tmp_path: Path):
    dead = Stage(database, tmp_path)
    dead.source, dead.vllms = stage.source, stage.vllms
    first, second = stage.release(1), stage.release(2)
    await promote(stage, first)
    await dead.reconciler.step()
    await promote(stage, second)
    for _ in range(4):
        stage.now += 6
        await stage.reconciler.step()
    assert stage.held() == [{second}, {second}]


async def test_a_release_that_another_server_takes_away_is_not_asked_for_until_it_is_gone(
    database: Database, stage: Stage
):
    digest = stage.release(1)
    stage.ledger.start(digest, Plan((100.0,)), WHO, "")
    await stage.reconciler.step()
    stage.ledger.roll_back(WHO, "")
    await stage.reconciler.step()
    other = Residences(database, stage.ledger, lambda: stage.now)
    assert other.leave([digest]) == {digest}
    stage.ledger.start(digest, Plan((100.0,)), WHO, "again")
    await stage.reconciler.step()
    with stage.router.route("somebody") as route:
        assert (route.role, route.release) == ("live", None)
    other.left()
    await stage.reconciler.step()
    with stage.router.route("somebody") as route:
        assert (route.role, route.release) == ("canary", digest)


async def test_what_was_live_goes_on_until_every_replica_holds_what_is(stage: Stage):
    first, second = stage.release(1), stage.release(2)
    await promote(stage, first)
    slow = stage.vllms[URLS[1]]
    slow.refuse = second
    await promote(stage, second)
    with stage.router.route("somebody") as route:
        assert route.release == first
    slow.refuse = ""
    await stage.reconciler.step()
    with stage.router.route("somebody") as route:
        assert route.release == second


async def test_nobody_meets_a_canary_that_a_replica_does_not_hold(stage: Stage):
    digest = stage.release(1)
    stage.vllms[URLS[1]].refuse = digest
    stage.ledger.start(digest, Plan((100.0,)), WHO, "")
    await stage.reconciler.step()
    with stage.router.route("somebody") as route:
        assert (route.role, route.release) == ("live", None)
    stage.vllms[URLS[1]].refuse = ""
    await stage.reconciler.step()
    with stage.router.route("somebody") as route:
        assert (route.role, route.release) == ("canary", digest)


async def test_a_replica_that_never_takes_the_live_release_is_waited_for_only_so_long(stage: Stage):
    first, second = stage.release(1), stage.release(2)
    await promote(stage, first)
    stage.vllms[URLS[1]].refuse = second
    await promote(stage, second)
    stage.now += PATIENCE_SECONDS
    await stage.reconciler.step()
    with stage.router.route("somebody") as route:
        assert route.release == second
    assert not stage.router.fleet.replicas[URLS[1]].holds(f"{second}.global")


async def test_two_servers_that_load_one_release_at_once_both_have_it(database: Database, stage: Stage, tmp_path: Path):
    other = Stage(database, tmp_path)
    digest = stage.release(1)
    other.source.folders, other.vllms = stage.source.folders, stage.vllms
    stage.ledger.start(digest, Plan((100.0,)), WHO, "")
    await asyncio.gather(stage.reconciler.step(), other.reconciler.step())
    for server in (stage, other):
        assert server.reconciler.faults == {}
        assert server.router.fleet.routable == {digest}


async def test_a_corrupt_release_is_told_and_changes_nothing_for_the_live_one(stage: Stage):
    live, bad = stage.release(1), stage.release(2)
    await promote(stage, live)
    replace_file(stage.source.folders[bad], "adapters/global/adapter_model.safetensors", b"no weights")
    stage.ledger.start(bad, Plan((100.0,)), WHO, "")
    await stage.reconciler.step()
    assert "safetensors" in stage.reconciler.faults[bad]
    with stage.router.route("somebody") as route:
        assert (route.release, route.role) == (live, "live")


async def test_before_the_live_release_is_loaded_callers_are_told_to_wait(stage: Stage):
    digest = stage.release(1)
    await promote(stage, digest)
    for vllm in stage.vllms.values():
        vllm.restart()
        vllm.refuse = digest
    await stage.reconciler.step()
    with pytest.raises(EngineUnavailable), stage.router.route("somebody"):
        pass


async def test_replicas_come_and_go(stage: Stage, database: Database):
    digest = stage.release(1)
    replicas = Replicas(database, stage.ledger)
    replicas.remove(URLS[1], WHO, "a reason")
    await promote(stage, digest)
    assert stage.held() == [{digest}, set()]
    replicas.add(URLS[1], WHO, "a reason")
    await stage.reconciler.step()
    assert stage.held() == [{digest}, {digest}]
    replicas.drain(URLS[0], WHO, "a reason")
    await stage.reconciler.step()
    assert not stage.router.fleet.replicas[URLS[0]].holds("sotto")
    replicas.remove(URLS[0], WHO, "a reason")
    await stage.reconciler.step()
    assert list(stage.router.fleet.replicas) == [URLS[1]]


async def test_a_release_in_the_shadow_is_held_and_chooses_but_never_answers(stage: Stage):
    digest = stage.release(1)
    stage.ledger.start(digest, Plan((100.0,), shadow=True), WHO, "")
    await stage.reconciler.step()
    with stage.router.route("somebody") as route:
        assert (route.role, route.release, route.voice.model) == ("live", None, "sotto")
        assert route.shadow is not None
        assert route.shadow.policy.model == f"{digest}.global"
        stage.ledger.roll_back(WHO, "")
        stage.now += 60
        await stage.reconciler.step()
        assert stage.held() == [{digest}, {digest}]
    with stage.router.route("somebody") as route:
        assert route.shadow is None


async def test_a_server_that_begins_answers_nobody_from_the_base_model_while_it_loads_the_live_release(stage: Stage):
    digest = stage.release(1)
    stage.ledger.start(digest, Plan(), WHO, "")
    stage.ledger.promote(WHO, "")
    for vllm in stage.vllms.values():
        vllm.down = True
    await stage.reconciler.step()
    assert not stage.router.ready
    with pytest.raises(EngineUnavailable), stage.router.route("somebody"):
        pass
    for vllm in stage.vllms.values():
        vllm.down = False
    await stage.reconciler.step()
    assert stage.router.ready


async def test_where_the_canary_is_not_held_yet_the_live_release_is_named_as_such(stage: Stage):
    live = stage.release(1)
    await promote(stage, live)
    canary = stage.release(2)
    replace_file(stage.root / "made-2", "adapters/global/adapter_model.safetensors", b"broken")
    stage.ledger.start(canary, Plan((100.0,)), WHO, "")
    await stage.reconciler.step()
    with stage.router.route("somebody") as route:
        assert (route.role, route.release, route.rollout) == ("live", live, stage.ledger.live_rollout())
