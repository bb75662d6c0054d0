"""Releases in one engine: verified first, loaded under new names, routable once warm, unloaded once idle."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from assistant.engine.adapters import Adapters, adapter_name
from assistant.engine.gateway import VllmEngine
from assistant.engine.soft_prompts import Embeddings
from assistant.errors import EngineError, EngineRejected, NotFound
from federation.releases import errors
from federation.releases.base import BaseModel, Served
from federation.releases.store import Store
from federation.releases.verify import Limits
from tests.federation.releases.making import BASE, HIDDEN, MODULES, make, weights


class FakeLora:
    """vLLM's routes for adapters; knows what it holds and what it was asked, and fails where told to."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.refuse = ""
        self.logprob: float = -1.0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            base = {"id": "sotto", "root": "/model", "parent": None}
            cards = [{"id": name, "root": path, "parent": "sotto"} for name, path in self.held.items()]
            return httpx.Response(200, json={"data": [base, *cards]})
        body = json.loads(request.content)
        self.asked.append((request.url.path, body))
        if self.refuse and self.refuse in body.get("lora_name", ""):
            return httpx.Response(500, json={"error": {"message": "it does not fit", "code": 500}})
        match request.url.path:
            case "/v1/load_lora_adapter":
                if body["lora_name"] in self.held:
                    return httpx.Response(400, json={"error": {"message": "already", "code": 400}})
                self.held[body["lora_name"]] = body["lora_path"]
                return httpx.Response(200, text="Success")
            case "/v1/unload_lora_adapter":
                found = self.held.pop(body["lora_name"], None)
                return httpx.Response(200, text="Success") if found else httpx.Response(404, json={"error": {}})
            case _:
                top = {f"token_id:{label}": self.logprob for label in body["logprob_token_ids"]}
                content = json.dumps({"choices": [{"logprobs": {"top_logprobs": [top]}}]})
                return httpx.Response(200, content=content)

    def paths(self, route: str) -> list[str]:
        return [body.get("lora_name", body.get("model")) for path, body in self.asked if path == route]


@pytest.fixture
def vllm() -> FakeLora:
    return FakeLora()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "releases")


@pytest.fixture
def adapters(vllm: FakeLora, store: Store) -> Adapters:
    engine = VllmEngine("http://engine", httpx.MockTransport(vllm), embeddings=Embeddings(torch.ones(9, HIDDEN)))
    return Adapters(engine, store, Served(BASE, MODULES), Limits(rank=8))


def stored(store: Store, tmp_path: Path, seed: int = 0, **changes: Any) -> str:
    folder = tmp_path / f"made-{seed}-{len(store.digests())}"
    make(folder, seed=seed, **changes)
    return store.add(folder).digest


async def test_a_release_is_loaded_from_its_own_folder_under_its_own_names(adapters, vllm, store, tmp_path):
    digest = stored(store, tmp_path)
    await adapters.load(digest)
    assert vllm.held == {
        adapter_name(digest, cohort): str(store.root / digest / "adapters" / cohort) for cohort in ("c0", "global")
    }
    assert adapters.routable == {digest}
    with adapters.policy(digest) as policy:
        assert policy.model == f"{digest}.global"
        np.testing.assert_array_equal(policy.soft_prompt, weights(0)["soft_prompt"])
    with adapters.policy(digest, "c0") as policy:
        assert (policy.cohort, policy.soft_prompt) == ("c0", None)
    with adapters.policy(digest, "c7") as policy:
        assert policy.cohort == "global"


async def test_each_cohort_is_warmed_up_with_its_soft_prompt(adapters, vllm, store, tmp_path):
    digest = stored(store, tmp_path)
    await adapters.load(digest)
    warmed = {body["model"]: body for path, body in vllm.asked if path == "/v1/completions"}
    assert set(warmed) == set(vllm.held)
    assert "prompt_embeds" in warmed[f"{digest}.global"]
    assert "prompt_embeds" not in warmed[f"{digest}.c0"]
    assert all(body["max_tokens"] == 1 for body in warmed.values())


async def test_loading_again_asks_for_nothing(adapters, vllm, store, tmp_path):
    digest = stored(store, tmp_path)
    await asyncio.gather(adapters.load(digest), adapters.load(digest))
    asked = len(vllm.asked)
    await adapters.load(digest)
    assert len(vllm.asked) == asked
    assert sorted(vllm.paths("/v1/load_lora_adapter")) == sorted(vllm.held)


async def test_what_the_engine_holds_from_before_is_taken_over_from_the_same_folder_only(
    adapters, vllm, store, tmp_path
):
    one, two = stored(store, tmp_path), stored(store, tmp_path, seed=1)
    for cohort in ("c0", "global"):
        vllm.held[adapter_name(one, cohort)] = str(store.root / one / "adapters" / cohort)
    await adapters.load(one)
    assert vllm.paths("/v1/load_lora_adapter") == []
    vllm.held[adapter_name(two, "global")] = "/elsewhere"
    with pytest.raises(EngineError, match="from /elsewhere"):
        await adapters.load(two)
    assert adapters.routable == {one}
    assert vllm.held[adapter_name(two, "global")] == "/elsewhere"
    assert adapter_name(two, "c0") not in vllm.held


class TestRefused:
    """Each with its reason; nothing was asked of the engine, and the release that is live stays so."""

    @pytest.fixture
    async def live(self, adapters, vllm, store, tmp_path):
        digest = stored(store, tmp_path)
        await adapters.load(digest)
        held, asked = dict(vllm.held), len(vllm.asked)
        yield digest
        assert adapters.routable == {digest}
        assert vllm.held == held
        assert len(vllm.asked) == asked

    async def test_a_corrupt_file(self, adapters, store, tmp_path, live):
        digest = stored(store, tmp_path, seed=1)
        path = store.root / digest / "adapters" / "global" / "adapter_model.safetensors"
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1] + b"\1")
        with pytest.raises(errors.FileChanged):
            await adapters.load(digest)

    async def test_a_wrong_base(self, adapters, store, tmp_path, live):
        with pytest.raises(errors.WrongBase):
            await adapters.load(stored(store, tmp_path, seed=1, base=BaseModel("c" * 64, HIDDEN, "other")))

    async def test_an_oversized_rank(self, adapters, store, tmp_path, live):
        from federation.lora import LoraShape

        cohorts = {"global": weights(1, rank=16)}
        with pytest.raises(errors.RankTooLarge):
            await adapters.load(stored(store, tmp_path, seed=1, cohorts=cohorts, lora=LoraShape(16, 16.0)))

    @pytest.mark.parametrize(
        ("content", "refusal"), [("nan", errors.NotFinite), ("pickle", errors.NotSafetensors)], ids=["nan", "pickle"]
    )
    async def test_a_forged_release(self, adapters, store, tmp_path, live, content, refusal):
        """Not by way of the store, which would not take it in: as whoever can write its folder would place it."""
        import pickle

        from federation.releases.manifest import Manifest
        from federation.releases.weights import tensors_to_bytes
        from tests.federation.releases.making import replace_file

        bad = {name: tensor for name, tensor in weights(1).items() if name != "soft_prompt"}
        bad[min(bad)] = np.full_like(bad[min(bad)], np.nan)
        make(tmp_path / "forged", seed=1)
        data = tensors_to_bytes(bad) if content == "nan" else pickle.dumps(bad)
        replace_file(tmp_path / "forged", "adapters/global/adapter_model.safetensors", data)
        digest = Manifest.from_bytes((tmp_path / "forged" / "manifest.json").read_bytes()).digest
        with pytest.raises(refusal):
            store.add(tmp_path / "forged")
        (tmp_path / "forged").rename(store.root / digest)
        with pytest.raises(refusal):
            await adapters.load(digest)

    @pytest.mark.parametrize("name", ["../outside", "/etc", ""])
    async def test_a_path_outside_the_store(self, adapters, live, name):
        with pytest.raises(errors.UnsafePath):
            await adapters.load(name)

    async def test_a_link_that_leads_out_of_the_store(self, adapters, store, tmp_path, live):
        digest = make(tmp_path / "outside", seed=1).digest
        (store.root / digest).symlink_to(tmp_path / "outside")
        with pytest.raises(errors.UnsafePath, match="link"):
            await adapters.load(digest)

    async def test_one_that_is_not_there(self, adapters, live):
        with pytest.raises(errors.ReleaseNotFound):
            await adapters.load("0" * 64)


async def test_a_release_that_the_engine_cannot_load_leaves_nothing_behind(adapters, vllm, store, tmp_path):
    digest = stored(store, tmp_path)
    vllm.refuse = "global"
    with pytest.raises(EngineError, match="does not fit"):
        await adapters.load(digest)
    assert vllm.held == {}
    assert adapters.routable == frozenset()
    vllm.refuse = ""
    await adapters.load(digest)


async def test_a_release_whose_numbers_come_out_wrong_is_not_routable(adapters, vllm, store, tmp_path):
    vllm.logprob = float("nan")
    with pytest.raises(EngineError, match="not finite"):
        await adapters.load(stored(store, tmp_path))
    assert vllm.held == {}
    assert adapters.routable == frozenset()


async def test_unloading_waits_for_replies_under_way_and_takes_no_new_ones(adapters, vllm, store, tmp_path):
    digest = stored(store, tmp_path)
    await adapters.load(digest)
    with adapters.policy(digest), adapters.policy(digest, "c0"):
        assert adapters.under_way(digest) == 2
        unloading = asyncio.create_task(adapters.unload(digest))
        await asyncio.sleep(0.05)
        assert not unloading.done()
        assert len(vllm.held) == 2
        with pytest.raises(NotFound, match="not loaded"), adapters.policy(digest):
            pass
    await asyncio.wait_for(unloading, 5)
    assert vllm.held == {}
    assert digest in store


async def test_a_release_wanted_again_while_it_drains_stays(adapters, vllm, store, tmp_path):
    digest = stored(store, tmp_path)
    await adapters.load(digest)
    with adapters.policy(digest):
        unloading = asyncio.create_task(adapters.unload(digest))
        await asyncio.sleep(0)
        await adapters.load(digest)
    await asyncio.wait_for(unloading, 5)
    assert adapters.routable == {digest}
    assert len(vllm.held) == 2


async def test_a_reply_that_fails_is_over_too(adapters, store, tmp_path):
    digest = stored(store, tmp_path)
    await adapters.load(digest)
    with pytest.raises(RuntimeError), adapters.policy(digest):
        raise RuntimeError
    await asyncio.wait_for(adapters.unload(digest), 5)
    await adapters.unload(digest)


async def test_an_engine_that_was_started_again_has_lost_its_releases(adapters, vllm, store, tmp_path):
    digest = stored(store, tmp_path)
    await adapters.load(digest)
    assert await adapters.present() == {digest}
    del vllm.held[f"{digest}.c0"]
    assert await adapters.present() == {digest}
    assert adapters.routable == frozenset()
    vllm.held.clear()
    assert await adapters.present() == frozenset()
    await adapters.load(digest)
    assert adapters.routable == {digest}


async def test_a_relative_folder_is_never_sent():
    engine = VllmEngine("http://engine", httpx.MockTransport(lambda _: pytest.fail("a request was sent")))
    with pytest.raises(ValueError, match="absolute"):
        await engine.load_adapter("name", Path("adapters"))


async def test_an_engine_without_embeddings_takes_no_soft_prompts(vllm):
    engine = VllmEngine("http://engine", httpx.MockTransport(vllm))
    with pytest.raises(ValueError, match="embeddings"):
        await engine.label_logprobs([1], [2], model="sotto", soft_prompt=np.ones((1, HIDDEN), np.float32))


async def test_unloading_what_the_engine_does_not_hold_is_said(vllm):
    with pytest.raises(EngineRejected):
        await VllmEngine("http://engine", httpx.MockTransport(vllm)).unload_adapter("nobody")
