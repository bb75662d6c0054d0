"""The tool call `recommend_items`: who gets one, how it looks, and what an agent's answer to it brings."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from assistant.dialogue.types import Adapter, Done, Plan, Text, Usage
from retrieval.wish import Wish
from tests.api.fakes import PLAN, REPLY, ScriptedAssistant
from tests.api.test_chat import USER, ask, frames

TOOLS = [{"type": "function", "function": {"name": "recommend_items", "parameters": {"type": "object"}}}]
OTHER = [{"type": "web_search"}, {"type": "function", "function": {"name": "get_weather"}}]
BY_NAME = {"type": "function", "function": {"name": "recommend_items"}}
NOTHING = (Plan("clarify", Wish(), (), (), None, Adapter()), Text("What do you like?"), Done("stop", Usage(1, 2)))


def choice_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]


@pytest.mark.parametrize(
    "fields",
    [{}, {"tools": []}, {"tools": None}, {"tools": OTHER}, {"tools": TOOLS, "tool_choice": "none"}],
    ids=["none declared", "empty", "null", "others", "none wanted"],
)
async def test_only_who_asks_gets_a_call(fields: dict[str, Any]) -> None:
    choice = choice_of(await ask(ScriptedAssistant(), **fields))
    assert choice["finish_reason"] == "stop"
    assert "tool_calls" not in choice["message"]


@pytest.mark.parametrize("choice", ["auto", None, "required", BY_NAME], ids=str)
async def test_a_call_carries_what_the_answer_carries(choice: Any) -> None:
    answer = await ask(ScriptedAssistant(), tools=[*OTHER, *TOOLS], tool_choice=choice)
    spoken = choice_of(answer)
    [call] = spoken["message"]["tool_calls"]
    assert spoken["finish_reason"] == "tool_calls"
    assert spoken["message"]["content"] == "".join(REPLY)
    assert (call["type"], call["function"]["name"]) == ("function", "recommend_items")
    given = json.loads(call["function"]["arguments"])
    assert given == {name: answer.json()[name] for name in given}
    assert set(given) == {"recommendations", "adapter", "recommendation_id", "wish"}


async def test_in_a_stream_one_chunk_carries_the_call_just_before_the_finish() -> None:
    answer = await ask(ScriptedAssistant(), stream=True, tools=TOOLS, stream_options={"include_usage": True})
    chunks = [chunk for chunk in frames(answer.text)[:-1] if chunk["choices"]]
    carrying = [at for at, chunk in enumerate(chunks) if "tool_calls" in chunk["choices"][0]["delta"]]
    assert carrying == [len(chunks) - 2]
    [call] = chunks[carrying[0]]["choices"][0]["delta"]["tool_calls"]
    assert call["index"] == 0
    assert json.loads(call["function"]["arguments"])["recommendations"][0]["id"] == "alien-1979"
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(("choice", "calls"), [("auto", 0), ("required", 1)])
async def test_without_recommendations_a_call_is_made_only_where_it_is_required(choice: str, calls: int) -> None:
    spoken = choice_of(await ask(ScriptedAssistant(NOTHING), tools=TOOLS, tool_choice=choice))
    made = spoken["message"].get("tool_calls", [])
    assert len(made) == calls
    assert [json.loads(call["function"]["arguments"])["recommendations"] for call in made] == [[]] * calls


async def test_a_reply_that_was_cut_short_says_so_in_spite_of_its_call() -> None:
    script = (PLAN, Text("Two that"), Done("length", Usage(1, 2)))
    spoken = choice_of(await ask(ScriptedAssistant(script), tools=TOOLS))
    assert spoken["finish_reason"] == "length"
    assert spoken["message"]["tool_calls"]


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice", "only"),
        ({"tools": TOOLS, "tool_choice": "any"}, "tool_choice", "only"),
        ({"tools": OTHER, "tool_choice": "required"}, "tool_choice", "declare recommend_items"),
        ({"tool_choice": BY_NAME}, "tool_choice", "declare recommend_items"),
        ({"tools": [{"function": {}}]}, "tools.0.type", "missing"),
    ],
)
async def test_what_cannot_be_called_is_refused(fields: dict[str, Any], param: str, said: str) -> None:
    assistant = ScriptedAssistant()
    answer = await ask(assistant, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert said in answer.json()["error"]["message"]
    assert assistant.requests == []


async def called() -> list[dict[str, Any]]:
    """A conversation up to the result of a call."""
    message = choice_of(await ask(ScriptedAssistant(), tools=TOOLS))["message"]
    spoken = {name: message[name] for name in ("role", "content", "tool_calls")}
    result = {"role": "tool", "tool_call_id": spoken["tool_calls"][0]["id"], "content": "shown"}
    return [*USER, spoken, result]


@pytest.mark.parametrize("choice", ["auto", "required"])
async def test_a_calls_result_brings_its_reply_once_more_and_no_other_call(choice: str) -> None:
    assistant = ScriptedAssistant()
    answer = await ask(assistant, messages=await called(), tools=TOOLS, tool_choice=choice)
    spoken = choice_of(answer)
    assert (spoken["message"]["content"], spoken["finish_reason"]) == ("".join(REPLY), "stop")
    assert "tool_calls" not in spoken["message"]
    assert answer.json()["recommendation_id"] == "rec-1"
    assert [pick["rank"] for pick in answer.json()["recommendations"]] == [1, 2]
    assert answer.json()["usage"]["total_tokens"] == 0
    assert assistant.requests == []


async def test_a_calls_result_is_answered_in_a_stream_too() -> None:
    chunks = frames((await ask(ScriptedAssistant(), messages=await called(), tools=TOOLS, stream=True)).text)
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1])
    assert text == "".join(REPLY)
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"


async def test_the_conversation_goes_on_after_a_call() -> None:
    assistant = ScriptedAssistant()
    messages = [*(await called()), {"role": "assistant", "content": "".join(REPLY)}, *USER]
    assert choice_of(await ask(assistant, messages=messages, tools=TOOLS))["finish_reason"] == "tool_calls"
    assert [message.role for message in assistant.requests[0].messages] == ["user", "assistant", "assistant", "user"]


@pytest.mark.parametrize("spoil", ["no call", "another function", "changed arguments", "no assistant"])
async def test_a_result_that_answers_no_call_of_ours_is_refused(spoil: str) -> None:
    messages = await called()
    if spoil == "no call":
        del messages[1]["tool_calls"]
    elif spoil == "another function":
        messages[1]["tool_calls"][0]["function"]["name"] = "get_weather"
    elif spoil == "changed arguments":
        messages[1]["tool_calls"][0]["function"]["arguments"] = '{"recommendations": 3}'
    else:
        messages = messages[2:]
    for stream in (False, True):
        answer = await ask(ScriptedAssistant(), messages=messages, tools=TOOLS, stream=stream)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages")
