"""How much a caller may ask: requests and tokens a minute, a conversation's length, and turns at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import openai
import pytest
from fastapi import FastAPI

from assistant.api.access import duration
from assistant.api.admission import estimated_tokens
from assistant.api.app import create_app
from assistant.dialogue.types import Done, Usage
from assistant.errors import EngineUnavailable
from assistant.settings import Settings
from tests.api.fakes import (
    ALIEN,
    DONE,
    PLAN,
    SCRIPT,
    FakeEngine,
    FakeLibrary,
    ScriptedAssistant,
    app_with,
    client_of,
    new_key,
    served,
    until,
)

CHAT = "/v1/chat/completions"
WORDS = "Something like Alien"
ASKED = estimated_tokens(WORDS)


async def ask(app: FastAPI, words: str = WORDS, *, key: str | None = None, **fields: Any) -> httpx.Response:
    body = {"model": "sotto", "messages": [{"role": "user", "content": words}], **fields}
    async with client_of(app, key=key) as client:
        return await client.post(CHAT, json=body)


async def test_requests_are_counted_and_refused_with_the_time_to_wait():
    app = app_with(ScriptedAssistant(), anonymous_requests_per_minute=3)
    async with client_of(app) as client:
        answers = [await client.get(f"/v1/items/{ALIEN.id}") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["2", "1", "0", "0"]
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in answers} == {"3"}
    assert answers[0].headers["x-ratelimit-reset-requests"] == "1m0s"
    refused = answers[-1]
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert "3 requests a minute" in refused.json()["error"]["message"]


async def test_an_unknown_address_counts_and_the_probes_do_not():
    app = app_with(ScriptedAssistant(), anonymous_requests_per_minute=1)
    async with client_of(app) as client:
        for _ in range(3):
            assert (await client.get("/healthz")).status_code == 200
        assert [(await client.get("/v1/nothing")).status_code for _ in range(2)] == [404, 429]


async def test_a_key_has_limits_of_its_own_and_no_other_pays_for_it():
    app = app_with(ScriptedAssistant(), requests_per_minute=2)
    small, usual = new_key(app, requests_per_minute=1), new_key(app)
    assert [(await ask(app, key=small)).status_code for _ in range(2)] == [200, 429]
    assert [(await ask(app, key=usual)).status_code for _ in range(3)] == [200, 200, 429]


async def test_no_limit_has_no_headers():
    app = app_with(ScriptedAssistant(), anonymous_requests_per_minute=0, anonymous_tokens_per_minute=0)
    answer = await ask(app)
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_are_taken_before_a_turn_and_settled_after(stream):
    app = app_with(ScriptedAssistant((*SCRIPT[:-1], Done("stop", Usage(500, 100)))), anonymous_tokens_per_minute=1000)
    first = await ask(app, stream=stream, max_tokens=50)
    assert first.headers["x-ratelimit-limit-tokens"] == "1000"
    assert first.headers["x-ratelimit-remaining-tokens"] == str(1000 - ASKED - 50)
    second = await ask(app, stream=stream, max_tokens=100)
    assert second.headers["x-ratelimit-remaining-tokens"] == str(1000 - 600 - ASKED - 100)
    refused = await ask(app, stream=stream, max_tokens=100)
    assert (refused.status_code, refused.headers["x-ratelimit-remaining-tokens"]) == (429, "0")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-remaining-requests"]


async def test_a_turn_that_fails_costs_no_tokens():
    assistant = ScriptedAssistant([EngineUnavailable("The engine is starting.")])
    app = app_with(assistant, anonymous_tokens_per_minute=ASKED + 50)
    for _ in range(3):
        assert (await ask(app, max_tokens=50)).status_code == 503
    assistant.script = SCRIPT
    assert (await ask(app, max_tokens=50)).status_code == 200


async def test_a_request_above_the_limit_by_itself_is_told_so():
    app = app_with(ScriptedAssistant(), anonymous_tokens_per_minute=10)
    refused = await ask(app, max_tokens=50)
    assert (refused.status_code, refused.headers.get("retry-after")) == (429, None)
    assert "This request alone" in refused.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_that_is_too_long_is_refused_before_any_work(stream):
    assistant = ScriptedAssistant()
    app = app_with(assistant, conversation_tokens=20)
    assert (await ask(app, "x" * 80, stream=stream)).status_code == 200
    refused = await ask(app, "x" * 81, stream=stream)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "messages")
    assert "21 tokens" in error["message"]
    assert len(assistant.requests) == 1


async def test_the_tokenizer_counts_where_there_is_one():
    def count(text: str) -> int:
        return len(text.split())

    app = create_app(Settings(conversation_tokens=2), ScriptedAssistant(), FakeLibrary(), FakeEngine(), count=count)
    assert [(await ask(app, words)).status_code for words in ("gentle comedies", "a gentle comedy")] == [200, 400]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_overload_is_shed_at_once_and_evenly(stream):
    gate = asyncio.Event()
    assistant = ScriptedAssistant([PLAN, gate, DONE])
    app = app_with(assistant, turns_at_once=2, turns_waiting=2, waiting_seconds=30)
    loud, calm = new_key(app), new_key(app)
    loop = asyncio.get_running_loop()
    flood = [loop.create_task(ask(app, key=loud, stream=stream)) for _ in range(12)]
    await until(lambda: sum(task.done() for task in flood) == 8)
    shed = [task.result() for task in flood if task.done()]
    assert {answer.status_code for answer in shed} == {503}
    assert {answer.json()["error"]["code"] for answer in shed} == {"overloaded"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in shed)
    # Nothing was done for those, and whoever sends little still gets in.
    assert len(assistant.requests) == 2
    let_in = loop.create_task(ask(app, key=calm, stream=stream))
    await until(lambda: sum(task.done() for task in flood) == 9)
    gate.set()
    assert (await let_in).status_code == 200
    assert sorted([(await task).status_code for task in flood]) == [200] * 3 + [503] * 9


async def test_a_turn_that_waits_too_long_is_sent_away():
    gate = asyncio.Event()
    assistant = ScriptedAssistant([PLAN, gate, DONE])
    app = app_with(assistant, turns_at_once=1, waiting_seconds=0.05)
    first = asyncio.create_task(ask(app))
    await until(lambda: assistant.requests)
    assert (await ask(app)).json()["error"]["code"] == "overloaded"
    gate.set()
    assert (await first).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_while_it_waits_gives_its_seat_back(stream):
    assistant = ScriptedAssistant([PLAN, 60.0])
    app = app_with(assistant, turns_at_once=1, turns_waiting=1, waiting_seconds=30)
    queue = app.state.access.turnstile._queue
    body = {"model": "sotto", "messages": [{"role": "user", "content": WORDS}], "stream": stream}
    with served(app) as url:
        async with httpx.AsyncClient(base_url=url) as client:
            tasks = [asyncio.create_task(client.post(CHAT, json=body)) for _ in range(2)]
            await until(lambda: queue.length == 1)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await until(lambda: queue.length == 0 and queue.running.total() == 0)
    assert len(assistant.requests) == assistant.closed


def test_openais_client_understands_the_refusals():
    app = app_with(ScriptedAssistant(), requests_per_minute=1)
    key = new_key(app)
    question = [{"role": "user", "content": WORDS}]
    with served(app) as url, openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        assert client.chat.completions.create(model="sotto", messages=question).choices
        with pytest.raises(openai.RateLimitError) as limited:
            client.chat.completions.create(model="sotto", messages=question)
        assert limited.value.code == "rate_limit_exceeded"
        assert limited.value.response.headers["retry-after"]
        with (
            openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as stranger,
            pytest.raises(openai.AuthenticationError) as unknown,
        ):
            stranger.models.list()
        assert unknown.value.code == "invalid_api_key"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0ms"), (0.0171, "17ms"), (1, "1s"), (59.4, "59s"), (60, "1m0s"), (125, "2m5s")]
)
def test_durations_read_as_openais(seconds, text):
    assert duration(seconds) == text
