"""Releases in a real vLLM under the starter model: they change the ranking, keep apart, and bad ones change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from assistant.dialogue.rank import Ranker
from assistant.dialogue.types import Voice
from assistant.engine.adapters import Adapters, Policy
from assistant.engine.fleet import Fleet, Replica
from assistant.engine.gateway import Sampling, VllmEngine
from assistant.engine.process import EngineProcess
from assistant.engine.soft_prompts import Embeddings
from assistant.errors import EngineRejected
from assistant.rollout.checks import no_worse
from assistant.rollout.evaluate import Evaluator, HeldOut
from assistant.rollout.receipts import Receipts
from assistant.rollout.routing import Router
from assistant.settings import STARTER_PATH
from federation.lora import LoraShape
from federation.releases import errors
from federation.releases.base import BaseModel, Served, read_served
from federation.releases.package import write_release
from federation.releases.store import Store
from federation.releases.verify import Limits
from prompts.build import encode, label_ids, rank_messages
from retrieval.item import Item
from retrieval.search import Candidate, Library
from retrieval.wish import Wish

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

LORA = LoraShape(8, 16.0)
TOKENS = 4
SLOTS = 4  # vLLM's --max-loras
NO_TOKENS = np.zeros((0, 256), np.float32)
GREEDY = Sampling(max_tokens=24)
TITLES = ("Solaris", "Yojimbo", "Alien", "Stalker", "Ran", "Brazil")
ITEMS = [Item(id=f"tt{at}", title=title, year=1960 + 5 * at, genres=("drama",)) for at, title in enumerate(TITLES)]


@cache
def served() -> Served:
    return read_served(STARTER_PATH)


@cache
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(STARTER_PATH)


def prompt() -> list[int]:
    return encode(tokenizer(), rank_messages(Wish(), ITEMS[:1], ITEMS[1:]))


def question() -> list[int]:
    """Something that is answered in words."""
    return encode(tokenizer(), [{"role": "user", "content": "Which slow film about a samurai would you take?"}])


def labels() -> list[int]:
    return label_ids(tokenizer(), len(ITEMS) - 1)


def weights(seed: int, tokens: int = TOKENS) -> dict[str, NDArray[np.float32]]:
    """Random factors, large enough to be felt."""
    draw = np.random.default_rng(seed)
    found: dict[str, NDArray[np.float32]] = {}
    for module, (out, into) in served().modules.items():
        found[f"{module}.lora_A.weight"] = draw.normal(0, 0.4, (LORA.rank, into)).astype(np.float32)
        found[f"{module}.lora_B.weight"] = draw.normal(0, 0.4, (out, LORA.rank)).astype(np.float32)
    if tokens:
        found["soft_prompt"] = draw.normal(0, 0.5, (tokens, served().model.hidden_size)).astype(np.float32)
    return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "releases")


@pytest.fixture
async def engine(starter_engine: EngineProcess) -> AsyncIterator[VllmEngine]:
    engine = VllmEngine(starter_engine.url, embeddings=Embeddings.open(STARTER_PATH))
    yield engine
    for name in await engine.adapters():
        await engine.unload_adapter(name)
    await engine.aclose()


@pytest.fixture
def adapters(engine: VllmEngine, store: Store) -> Adapters:
    return Adapters(engine, store, served(), Limits(rank=8))


def stored(store: Store, tmp_path: Path, seed: int, **changes: Any) -> str:
    given = {"lora": LORA, "base": served().model, **changes}
    cohorts = given.pop("cohorts", {"global": weights(seed), "c0": weights(seed + 100, tokens=0)})
    return store.add(_written(tmp_path / f"made-{seed}", cohorts, given)).digest


def _written(folder: Path, cohorts: Any, given: dict[str, Any]) -> Path:
    write_release(folder, cohorts, **given)
    return folder


async def ranking(engine: VllmEngine, policy: Policy | None) -> NDArray[np.float64]:
    if policy is None:
        return await engine.label_logprobs(prompt(), labels(), model="sotto")
    return await engine.label_logprobs(prompt(), labels(), model=policy.model, soft_prompt=policy.soft_prompt)


async def reply(engine: VllmEngine, policy: Policy | None) -> str:
    if policy is None:
        return (await engine.complete(question(), model="sotto", sampling=GREEDY)).text
    model, soft_prompt = policy.model, policy.soft_prompt
    return (await engine.complete(question(), model=model, sampling=GREEDY, soft_prompt=soft_prompt)).text


def reference(tensors: dict[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    """The ranking of transformers under the LoRA and behind the soft prompt, its products merged by hand."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(STARTER_PATH, dtype=torch.float32)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for module in served().modules:
            product = LORA.scale * tensors[f"{module}.lora_B.weight"] @ tensors[f"{module}.lora_A.weight"]
            parameters[f"{module.removeprefix('base_model.model.')}.weight"] += torch.from_numpy(product)
        rows = model.get_input_embeddings()(torch.tensor(prompt()))
        soft_prompt = torch.from_numpy(tensors.get("soft_prompt", NO_TOKENS))
        logits = model(inputs_embeds=torch.cat([soft_prompt, rows])[None]).logits[0, -1]
    found: NDArray[np.float64] = torch.log_softmax(logits[labels()].double(), dim=0).numpy()
    return found


async def test_a_release_changes_the_ranking_as_peft_and_transformers_would(engine, adapters, store, tmp_path):
    digest = stored(store, tmp_path, 1)
    base = await ranking(engine, None)
    await adapters.load(digest)
    with adapters.policy(digest) as everyone, adapters.policy(digest, "c0") as cohort:
        first, second = await ranking(engine, everyone), await ranking(engine, cohort)
    np.testing.assert_allclose(first, reference(weights(1)), atol=2e-2)
    np.testing.assert_allclose(second, reference(weights(101, tokens=0)), atol=2e-2)
    np.testing.assert_allclose(base, await ranking(engine, None), atol=1e-4)
    for one, other in ((base, first), (base, second), (first, second)):
        assert np.abs(np.exp(one) - np.exp(other)).max() > 0.02


async def test_prompt_embeddings_alone_change_nothing(engine, adapters, store, tmp_path):
    digest = stored(store, tmp_path, 1)
    await adapters.load(digest)
    for model in ("sotto", f"{digest}.c0"):
        ordinary = await engine.label_logprobs(prompt(), labels(), model=model)
        embedded = await engine.label_logprobs(prompt(), labels(), model=model, soft_prompt=NO_TOKENS)
        np.testing.assert_allclose(embedded, ordinary, atol=1e-3)
        for sampling in (GREEDY, Sampling(max_tokens=24, temperature=1.0, seed=7)):
            plain = await engine.complete(question(), model=model, sampling=sampling)
            through = await engine.complete(question(), model=model, sampling=sampling, soft_prompt=NO_TOKENS)
            assert through == plain


async def test_a_soft_prompt_works_with_patterns_and_schemas(engine, adapters, store, tmp_path):
    digest = stored(store, tmp_path, 1)
    await adapters.load(digest)
    with adapters.policy(digest) as policy:
        held = {"model": policy.model, "soft_prompt": policy.soft_prompt}
        chosen = await engine.complete(prompt(), sampling=Sampling(4, pattern="yes|no"), **held)
        schema = {"type": "object", "properties": {"a": {"enum": ["b", "c"]}}, "required": ["a"]}
        written = await engine.complete(prompt(), sampling=GREEDY, schema=schema, **held)
    assert chosen.text in {"yes", "no"}
    assert written.text in {'{"a":"b"}', '{"a":"c"}'}


async def test_releases_do_not_mix_while_others_come_and_go(engine, adapters, store, tmp_path):
    one, two = stored(store, tmp_path, 1), stored(store, tmp_path, 2)
    passing = [stored(store, tmp_path, seed) for seed in (3, 4, 5)]
    await adapters.load(one)
    await adapters.load(two)
    alone: dict[str, tuple[NDArray[np.float64], str]] = {}
    for digest in (one, two):
        with adapters.policy(digest) as policy:
            alone[digest] = await ranking(engine, policy), await reply(engine, policy)
    assert alone[one][1] != alone[two][1]

    async def turn(digest: str) -> None:
        with adapters.policy(digest) as policy:
            ranked, said = await asyncio.gather(ranking(engine, policy), reply(engine, policy))
        np.testing.assert_allclose(ranked, alone[digest][0], atol=2e-2)
        assert said == alone[digest][1]

    async def come_and_go() -> None:
        for digest in passing:
            await adapters.load(digest)
            await adapters.unload(digest)

    await asyncio.gather(come_and_go(), *(turn(digest) for _ in range(6) for digest in (one, two)))
    assert await adapters.present() == {one, two}


async def test_the_base_model_answers_beside_as_many_adapters_as_there_are_slots(engine, adapters, store, tmp_path):
    alone = await reply(engine, None)
    digests = [stored(store, tmp_path, seed) for seed in range(10, 10 + SLOTS + 1)]
    for digest in digests:
        await adapters.load(digest)
        with adapters.policy(digest) as policy:
            under = await reply(engine, policy)
            beside = await asyncio.gather(*(reply(engine, who) for who in (policy, None, policy, None)))
        assert beside == [under, alone, under, alone]


async def test_the_gate_finds_a_release_that_ranks_worse(engine, adapters, store, tmp_path):
    from tests.retrieval.fakes import HashEncoder, MemoryCatalogue

    items = [Item(id=f"tt{at}", title=title, year=1950 + at, genres=("drama",)) for at, title in enumerate(TITLES * 4)]
    library = Library(MemoryCatalogue(items), HashEncoder(), tmp_path / "index")
    router = Router(Fleet(), Receipts(bytes(32)), bytes(32), "sotto")
    ids = [item.id for item in items]
    events = [HeldOut(history=ids[:2], candidates=ids[at : at + 8], chosen=ids[at]) for at in range(2, 16)]
    unknown = Evaluator(router, Replica("http://127.0.0.1", engine, adapters), library, tokenizer(), events)
    # What the base model puts first was chosen: a release of random weights must do worse.
    chosen = [await firsts(unknown, event) for event in events]
    known = [event.model_copy(update={"chosen": item}) for event, item in zip(events, chosen, strict=True)]
    measured = Evaluator(router, Replica("http://127.0.0.1", engine, adapters), library, tokenizer(), known)
    digest = stored(store, tmp_path, 1)
    rankings = {None: await measured.ranking(None), digest: await measured.ranking(digest)}
    assert set(rankings[None].ndcg) == {1.0}
    finding = no_worse(rankings.__getitem__)(digest, None)
    assert not finding.passed
    assert no_worse(rankings.__getitem__)(digest, digest).passed


async def firsts(measured: Evaluator, event: HeldOut) -> str:
    """The candidate that the base model puts first."""
    items = measured.library.catalogue.many(event.candidates)
    ranker = Ranker(measured.replica.engine, measured.tokenizer)
    history = measured.library.catalogue.many(event.history)
    ranked, _ = await ranker.rank(Wish(), history, [Candidate(item, 0.0, {}) for item in items], Voice("sotto"))
    return ranked[0].item.id


async def test_a_reply_under_way_ends_on_the_release_it_began_with(engine, adapters, store, tmp_path):
    old, new = stored(store, tmp_path, 1), stored(store, tmp_path, 2)
    await adapters.load(old)
    with adapters.policy(old) as policy:
        whole = await reply(engine, policy)
        answer = engine.generate(question(), model=policy.model, sampling=GREEDY, soft_prompt=policy.soft_prompt)
        said = (await anext(answer)).text
        unloading = asyncio.create_task(adapters.unload(old))
        await adapters.load(new)
        assert adapters.routable == {new}
        said += "".join([delta.text async for delta in answer])
    assert said == whole
    await unloading
    assert await adapters.present() == {new}
    with pytest.raises(EngineRejected, match="does not exist"):
        await reply(engine, policy)


async def test_bad_releases_are_refused_and_live_traffic_goes_on(engine, adapters, store, tmp_path):
    live = stored(store, tmp_path, 1)
    await adapters.load(live)
    with adapters.policy(live) as policy:
        before = await reply(engine, policy)
        other = BaseModel("0" * 64, 256, "another")
        big = {
            name: np.repeat(tensor, 2, axis=0 if "lora_A" in name else 1)
            for name, tensor in weights(2, tokens=0).items()
        }
        foreign = {name.replace("layers.5", "layers.9"): tensor for name, tensor in weights(3, tokens=0).items()}
        corrupt = stored(store, tmp_path, 4)
        path = store.root / corrupt / "adapters" / "global" / "adapter_model.safetensors"
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-4] + b"\0\0\xc0\x7f")
        bad = {
            corrupt: errors.FileChanged,
            stored(store, tmp_path, 5, base=other): errors.WrongBase,
            stored(store, tmp_path, 6, cohorts={"global": big}, lora=LoraShape(16, 16.0)): errors.RankTooLarge,
            stored(store, tmp_path, 7, cohorts={"global": foreign}): errors.ModuleRefused,
            "../outside": errors.UnsafePath,
        }
        replies = asyncio.gather(*(reply(engine, policy) for _ in range(4)))
        for digest, refusal in bad.items():
            with pytest.raises(refusal):
                await adapters.load(digest)
        assert await replies == [before] * 4
    assert await adapters.present() == {live}
