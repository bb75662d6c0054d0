"""The engine goes away and comes back: 503 meanwhile, and the API goes on as it was."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from assistant.engine.gateway import VllmEngine
from tests.api.fake_vllm import FakeVllm, dialogue, library
from tests.api.fakes import ALIEN, app_with, client_of, served
from tests.engine.conftest import free_port

BODY = {"model": "sotto", "messages": [{"role": "user", "content": "a horror film"}]}
CHAT = "/v1/chat/completions"


async def test_it_is_unavailable_while_the_engine_is_away_and_recovers_by_itself(tmp_path: Path) -> None:
    port, vllm = free_port(), FakeVllm()
    engine = VllmEngine(f"http://127.0.0.1:{port}")
    async with client_of(app_with(dialogue(engine, library(tmp_path)), engine=engine)) as client:
        for _ in range(2):
            for stream in (False, True):
                away = await client.post(CHAT, json={**BODY, "stream": stream})
                assert away.status_code == 503
                assert away.json()["error"]["code"] == "engine_unavailable"
                assert int(away.headers["retry-after"]) > 0
            assert (await client.get("/readyz")).status_code == 503
            assert (await client.get(f"/v1/items/{ALIEN.id}")).status_code == 200
            with served(vllm.app, port=port):
                for stream in (False, True):
                    assert (await client.post(CHAT, json={**BODY, "stream": stream})).status_code == 200
                assert (await client.get("/readyz")).status_code == 200
    await engine.aclose()


async def test_an_engine_that_breaks_off_is_told_in_the_stream_and_the_next_turn_runs(tmp_path: Path) -> None:
    vllm = FakeVllm(breaks=True)
    engine = VllmEngine("http://engine", httpx.ASGITransport(vllm.app))
    async with client_of(app_with(dialogue(engine, library(tmp_path)), engine=engine, turns_at_once=1)) as client:
        broken = await client.post(CHAT, json={**BODY, "stream": True})
        *_, last, end = [line.removeprefix("data: ") for line in broken.text.split("\n\n") if line.startswith("data: ")]
        error = json.loads(last)
        assert broken.status_code == 200
        assert set(error["error"]) == {"message", "type", "param", "code"}
        assert (error["error"]["code"], error["request_id"]) == ("engine_unavailable", broken.headers["x-request-id"])
        assert end == "[DONE]"
        vllm.breaks = False
        assert "Start with" in (await client.post(CHAT, json={**BODY, "stream": True})).text
    await engine.aclose()
