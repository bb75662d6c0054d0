"""The chat route: OpenAI's form, Sotto's additions, and a generation that ends with its client."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import httpx
import pytest

from assistant.dialogue.types import ChatMessage, Done, Text, Usage
from assistant.errors import EngineRejected, EngineTimeout, EngineUnavailable, InvalidRequest
from retrieval.wish import Wish
from tests.api.fakes import PLAN, REPLY, SCRIPT, WISH, ScriptedAssistant, app_with, client_of, served, until

USER = [{"role": "user", "content": "Something like Alien"}]
ADDITIONS = ("recommendations", "adapter", "recommendation_id", "wish")


async def ask(assistant: ScriptedAssistant, **fields: Any) -> httpx.Response:
    body = {"model": "sotto", "messages": USER, **fields}
    async with client_of(app_with(assistant)) as client:
        return await client.post("/v1/chat/completions", json=body)


def frames(text: str) -> list[Any]:
    data = [block.removeprefix("data: ") for block in text.split("\n\n") if block.startswith("data: ")]
    return [block if block == "[DONE]" else json.loads(block) for block in data]


async def test_a_whole_reply_has_openais_form():
    answer = (await ask(ScriptedAssistant())).json()

    assert answer["object"] == "chat.completion"
    assert answer["model"] == "sotto"
    assert answer["id"].startswith("chatcmpl-")
    choice = answer["choices"][0]
    assert (choice["message"]["role"], choice["message"]["content"]) == ("assistant", "".join(REPLY))
    assert choice["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 120, "completion_tokens": 14, "total_tokens": 134}


async def test_additions_stand_at_the_top_and_on_the_message():
    answer = (await ask(ScriptedAssistant())).json()

    for place in (answer, answer["choices"][0]["message"]):
        first = place["recommendations"][0]
        assert first == {
            "id": "alien-1979",
            "title": "Alien",
            "year": 1979,
            "rank": 1,
            "score": 0.7,
            "reason": "dread in deep space",
        }
        assert place["adapter"]["arm"] == "base"
        assert place["recommendation_id"] == "rec-1"
        assert Wish.model_validate(place["wish"]) == WISH


async def test_a_stream_carries_additions_in_one_chunk_before_it_finishes():
    answer = await ask(ScriptedAssistant(), stream=True)
    chunks = frames(answer.text)

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert chunks.pop() == "[DONE]"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant"
    assert "".join(delta.get("content", "") for delta in deltas) == "".join(REPLY)
    finishes = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert finishes[-1] == "stop"
    assert set(finishes[:-1]) == {None}
    carrying = [chunk for chunk in chunks if "recommendations" in chunk]
    assert len(carrying) == 1
    for name in ADDITIONS:
        assert carrying[0][name] == carrying[0]["choices"][0]["delta"][name]


async def test_usage_follows_the_finish_when_asked_for():
    chunks = frames((await ask(ScriptedAssistant(), stream=True, stream_options={"include_usage": True})).text)

    assert chunks[-2]["choices"] == []
    assert chunks[-2]["usage"]["total_tokens"] == 134
    assert chunks[-3]["choices"][0]["finish_reason"] == "stop"


async def test_length_is_passed_on_as_the_finish_reason():
    script = (PLAN, Text("Two that"), Done("length", Usage(1, 2)))
    assert (await ask(ScriptedAssistant(script))).json()["choices"][0]["finish_reason"] == "length"


async def test_sampling_and_the_wish_reach_the_dialogue():
    assistant = ScriptedAssistant()
    await ask(
        assistant,
        temperature=0,
        top_p=0.5,
        seed=7,
        stop="END",
        max_tokens=50,
        wish={"genres": ["drama"]},
        n=1,
        user="x",
    )

    turn = assistant.requests[0]
    assert (turn.temperature, turn.top_p, turn.seed, turn.stop, turn.max_tokens) == (0, 0.5, 7, ("END",), 50)
    assert turn.wish == Wish(genres=("drama",))
    assert turn.messages == (ChatMessage("user", "Something like Alien"),)


async def test_null_fields_keep_the_dialogues_defaults():
    left_out, null = ScriptedAssistant(), ScriptedAssistant()
    await ask(left_out)
    names = ("temperature", "top_p", "seed", "stop", "max_tokens", "n", "stream", "stream_options", "wish")
    answer = await ask(null, **dict.fromkeys(names))

    assert answer.status_code == 200
    assert null.requests == left_out.requests


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({"max_completion_tokens": 9, "max_tokens": 50}, 9), ({"max_tokens": 50_000}, 1024)],
    ids=["the newer name goes first", "a large limit is lowered"],
)
async def test_the_reply_is_limited(fields, expected):
    assistant = ScriptedAssistant()
    await ask(assistant, **fields)
    assert assistant.requests[0].max_tokens == expected


async def test_every_role_and_text_parts_are_understood():
    assistant = ScriptedAssistant()
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello "}, {"type": "text", "text": "there"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "A film, please", "name": "ada"},
    ]
    await ask(assistant, messages=messages)

    assert assistant.requests[0].messages == (
        ChatMessage("system", "Be brief."),
        ChatMessage("user", "Hello there"),
        ChatMessage("assistant", "Hello."),
        ChatMessage("user", "A film, please"),
    )


IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"n": 2}, "n", "one reply"),
        ({"temperature": 3}, "temperature", "less than or equal to 2"),
        ({"top_p": 0}, "top_p", "greater than 0"),
        ({"seed": 2**70}, "seed", "less than"),
        ({"stop": [""]}, "stop.0", "at least 1"),
        ({"stop": list("abcde")}, "stop", "hold 4 at most, and has 5"),
        ({"max_tokens": 0}, "max_tokens", "greater than"),
        ({"wish": {"genre": "drama"}}, "wish.genre", "no such field"),
        ({"wish": {"year_from": 1990, "year_to": 1980}}, "wish", "comes after"),
        ({"messages": []}, "messages", "hold 1 at least"),
        ({"messages": USER * 201}, "messages", "hold 200 at most"),
        ({"messages": [{"role": "user", "content": "x" * 32_001}]}, "messages.0.content", "at most 32000"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages", "empty"),
        ({"messages": [*USER, {"role": "assistant", "content": "Hm"}]}, "messages", "must be the user's or a tool's"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "messages.0.role", "user"),
        ({"messages": IMAGE}, "messages.0.content", "only text"),
    ],
)
async def test_a_malformed_request_is_refused_by_the_name_of_its_field(fields, param, said):
    assistant = ScriptedAssistant()
    answer = await ask(assistant, **fields)
    error = answer.json()["error"]

    assert answer.status_code == 400
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, "invalid_request")
    assert said in error["message"]
    assert assistant.requests == []


async def test_an_unknown_model_is_refused():
    answer = await ask(ScriptedAssistant(), model="gpt-4o")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (EngineUnavailable("The engine is starting.", retry_after=7), 503, "engine_unavailable"),
        (EngineTimeout("The engine took too long."), 504, "engine_timeout"),
        (EngineRejected("The engine refused.", 400), 502, "engine_error"),
        (InvalidRequest("Too long.", "messages"), 400, "invalid_request"),
        (RuntimeError("secret words"), 500, "internal"),
    ],
)
async def test_an_error_before_the_first_event_has_its_own_status(error, status, code, stream):
    answer = await ask(ScriptedAssistant([error]), stream=stream)

    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert answer.headers.get("retry-after") == ("7" if status == 503 else None)
    assert "secret" not in answer.text


async def test_a_later_error_is_told_in_the_stream():
    answer = await ask(ScriptedAssistant([PLAN, Text("Two"), EngineTimeout("The engine took too long.")]), stream=True)
    *_, last, end = frames(answer.text)

    assert end == "[DONE]"
    assert last["error"]["code"] == "engine_timeout"
    assert last["request_id"] == answer.headers["x-request-id"]


async def test_a_dialogue_without_an_end_is_an_error():
    assert (await ask(ScriptedAssistant([PLAN, Text("Two")]))).status_code == 500
    streamed = await ask(ScriptedAssistant([PLAN, Text("Two")]), stream=True)
    assert frames(streamed.text)[-2]["error"]["code"] == "internal"
    assert (await ask(ScriptedAssistant([]), stream=True)).status_code == 500


async def test_a_waiting_stream_is_kept_alive():
    assistant = ScriptedAssistant([0.1, PLAN, 0.1, *SCRIPT[1:]])
    async with client_of(app_with(assistant, heartbeat=0.03)) as client:
        body = {"model": "sotto", "messages": USER, "stream": True}
        text = (await client.post("/v1/chat/completions", json=body)).text

    before, _, after = text.partition('"recommendations"')
    assert ": waiting\n\n" in before
    assert ": waiting\n\n" in after
    assert frames(text)[-1] == "[DONE]"


@pytest.mark.parametrize("script", [[30.0], [PLAN, 30.0]], ids=["before the first event", "while it streams"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_ends_the_generation(script, stream):
    assistant = ScriptedAssistant(script)
    with served(app_with(assistant)) as url:
        async with httpx.AsyncClient() as client:
            body = {"model": "sotto", "messages": USER, "stream": stream}
            asking = asyncio.create_task(client.post(f"{url}/v1/chat/completions", json=body, timeout=30))
            await until(lambda: assistant.requests)
            asking.cancel()
            await asyncio.wait({asking})
        await until(lambda: assistant.closed)
        assert len(assistant.requests) == assistant.closed == 1


@pytest.mark.parametrize(
    "script", [SCRIPT, [RuntimeError("xyzzy")], [PLAN, RuntimeError("xyzzy")]], ids=["reply", "failure", "late failure"]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_nothing_of_a_conversation_is_logged(script, stream, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    messages = [{"role": "user", "content": "xyzzy"}]
    with served(app_with(ScriptedAssistant(script)), log_level="debug") as url:
        async with httpx.AsyncClient() as client:
            for last in (messages, messages * 300):
                body = {"model": "sotto", "messages": last, "stream": stream}
                await client.post(f"{url}/v1/chat/completions", json=body)

    output = capfd.readouterr()
    logged = caplog.text + output.out + output.err
    for secret in ("xyzzy", *(piece.strip() for piece in REPLY if piece.strip() != "and")):
        assert secret not in logged
