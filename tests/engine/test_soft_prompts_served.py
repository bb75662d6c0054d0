"""Soft prompts from an HTTP request down to a real vLLM: felt by whoever sent one, and by nobody else."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from assistant.api.app import create_app
from assistant.dialogue.turn import Assistant
from assistant.engine.adapters import Adapters
from assistant.engine.fleet import Fleet, Replica
from assistant.engine.gateway import VllmEngine
from assistant.engine.process import EngineProcess
from assistant.engine.soft_prompts import Embeddings
from assistant.rollout.ledger import Traffic
from assistant.rollout.service import Rollouts
from assistant.settings import STARTER_PATH, Settings
from federation.releases.store import Store
from federation.releases.verify import Limits
from retrieval.search import Library
from tests.api.fakes import client_of
from tests.engine.test_releases_served import served, stored, tokenizer, weights
from tests.retrieval.fakes import HashEncoder, MemoryCatalogue
from tests.retrieval.films import FILMS

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

WISH = {"wish": {"genres": ["drama"]}, "count": 10, "seed": 1}
MESSAGES = [{"role": "user", "content": "A slow drama like Solaris"}]
# Few tokens: under random weights a reply never holds, and is drawn anew, with the seed, to its limit each time.
CHAT = {"model": "sotto", "messages": MESSAGES, "temperature": 0, "seed": 1, "max_tokens": 16}
# Of numbers that occur nowhere else, so that they would be found in a log.
PERSONAL = np.random.default_rng(1).normal(0, 0.5, (8, 256)).round(9).tolist()


class Wire(httpx.AsyncHTTPTransport):
    """Keeps the bodies of the completions that were asked of the engine."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[dict[str, Any]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/completions":
            self.sent.append(json.loads(request.content))
        return await super().handle_async_request(request)

    def taken(self) -> list[dict[str, Any]]:
        """What was sent since this was last asked."""
        sent, self.sent = self.sent, []
        return sent


class Stand:
    """A whole server over the running vLLM; ``live`` puts a release before everyone."""

    def __init__(self, url: str, root: Path) -> None:
        self.wire = Wire()
        self.root, self.store = root, Store(root / "releases")
        embeddings = Embeddings.open(STARTER_PATH)
        self.engine = VllmEngine(url, self.wire, embeddings=embeddings)
        self.adapters = Adapters(self.engine, self.store, served(), Limits(rank=8))
        fleet = Fleet([Replica(url, self.engine, self.adapters, up=True)])
        library = Library(MemoryCatalogue(FILMS), HashEncoder(), root / "index")
        self.app = create_app(
            Settings(home=root, anonymous_requests_per_minute=0),
            Assistant(library, fleet, tokenizer()),
            library,
            fleet,
            rollouts=lambda database: Rollouts.of(database, "sotto", fleet=fleet, embeddings=embeddings),
        )
        self.client = client_of(self.app)

    async def live(self, seed: int, tokens: int) -> NDArray[np.float32]:
        """A new release answers everyone; its soft prompt (tokens, hidden)."""
        digest = stored(self.store, self.root, seed, cohorts={"global": weights(seed, tokens)})
        await self.adapters.load(digest)
        self.app.state.serving.rollouts.router.traffic = Traffic(digest, None)
        self.wire.taken()
        return weights(seed, tokens).get("soft_prompt", np.zeros((0, 256), np.float32))

    async def ranking(self, personal: Any = None) -> dict[str, float]:
        """The score of each film that is recommended."""
        answer = await self.client.post("/v1/recommendations", json={**WISH, "soft_prompt": personal})
        assert answer.status_code == 200, answer.text
        return {one["id"]: one["score"] for one in answer.json()["recommendations"]}

    async def chat(self, personal: Any = None) -> dict[str, Any]:
        """A whole reply."""
        answer = await self.client.post("/v1/chat/completions", json={**CHAT, "soft_prompt": personal})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["choices"][0]["message"]
        return {name: found[name] for name in ("content", "recommendations")}


@pytest.fixture
async def stand(starter_engine: EngineProcess, tmp_path: Path) -> AsyncIterator[Stand]:
    stand = Stand(starter_engine.url, tmp_path)
    yield stand
    await stand.client.aclose()
    for name in await stand.engine.adapters():
        await stand.engine.unload_adapter(name)
    await stand.engine.aclose()


def rows(body: dict[str, Any]) -> NDArray[np.float32]:
    """The embeddings that were sent, (tokens, hidden)."""
    sent = torch.load(io.BytesIO(base64.b64decode(body["prompt_embeds"])), weights_only=True)
    found: NDArray[np.float32] = sent.numpy()
    return found


def apart(one: dict[str, float], other: dict[str, float]) -> float:
    """The largest difference of a film's scores."""
    return max(abs(one.get(film, 0.0) - other.get(film, 0.0)) for film in one.keys() | other.keys())


@pytest.mark.parametrize("released", [False, True])
async def test_a_personal_soft_prompt_is_felt_by_its_sender_and_by_nobody_in_the_same_batch(stand: Stand, released):
    if released:
        await stand.live(1, tokens=4)
    plain, mine, said = await stand.ranking(), await stand.ranking(PERSONAL), await stand.chat()
    assert apart(plain, mine) > 0.02
    together = await asyncio.gather(
        *(stand.ranking(personal) for _ in range(3) for personal in (None, PERSONAL)),
        stand.chat(),
        stand.chat(PERSONAL),
    )
    assert max(apart(found, plain) for found in together[0:6:2]) < 0.005
    assert max(apart(found, mine) for found in together[1:6:2]) < 0.005
    assert together[6]["content"] == said["content"]
    assert await stand.chat() == said


async def test_a_chat_without_soft_prompts_takes_the_ordinary_path(stand: Stand):
    await stand.live(1, tokens=0)
    await stand.chat()
    sent = stand.wire.taken()
    assert len({body["model"] for body in sent}) == 2  # the base model understands, the release ranks and replies
    assert all(isinstance(body["prompt"], list) and "prompt_embeds" not in body for body in sent)


async def test_embeddings_are_the_release_s_prompt_then_the_person_s_then_the_very_tokens_of_the_ordinary_path(
    stand: Stand,
):
    await stand.live(1, tokens=0)
    await stand.ranking()
    (ordinary,) = stand.wire.taken()
    own = await stand.live(2, tokens=4)
    await stand.ranking()
    await stand.ranking(PERSONAL)
    table = Embeddings.open(STARTER_PATH)
    tokens = table.encoded(np.zeros((0, 256), np.float32), ordinary["prompt"])
    for body, before in zip(stand.wire.taken(), (own, np.concatenate([own, np.float32(PERSONAL)])), strict=True):
        assert "prompt" not in body
        assert body["model"].endswith(".global")
        sent = rows(body)
        np.testing.assert_array_equal(sent[: len(before)], before)
        np.testing.assert_array_equal(sent[len(before) :], rows({"prompt_embeds": tokens}))
    await stand.chat()
    understood, *spoken = stand.wire.taken()
    assert "prompt_embeds" not in understood
    assert spoken
    assert all("prompt_embeds" in body for body in spoken)


async def test_neither_soft_prompt_nor_what_was_said_with_it_is_logged(
    stand: Stand, starter_engine: EngineProcess, caplog, capfd
):
    own = await stand.live(1, tokens=4)
    caplog.set_level(logging.DEBUG)
    said = await stand.chat(PERSONAL)
    too_long = [[number * 1e6 for number in row] for row in PERSONAL]
    refused = await stand.client.post("/v1/chat/completions", json={**CHAT, "soft_prompt": too_long})
    assert refused.status_code == 400
    output = capfd.readouterr()
    engine = starter_engine.log_path.read_text(errors="replace")
    logged = caplog.text + output.out + output.err + engine
    encoded = stand.wire.taken()[-1]["prompt_embeds"]
    numbers = [f"{number:.5f}"[:7] for number in (*PERSONAL[0][:20], *own[0][:20])]
    for secret in (*numbers, encoded[400:460], "slow drama", said["content"] or "slow drama"):
        assert secret not in logged
