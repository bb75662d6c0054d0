"""OpenAI's and LangChain's own clients work by base URL alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, ConfigDict

from assistant.dialogue.turn import Assistant
from assistant.dialogue.types import ChatMessage, Done, Plan, Text, Usage
from assistant.errors import EngineUnavailable
from retrieval.search import Library
from retrieval.wish import Wish
from tests.api.fakes import PLAN, REPLY, SCRIPT, WISH, ScriptedAssistant, app_with, served
from tests.dialogue.fakes import CharTokenizer, ScriptedEngine
from tests.retrieval.fakes import HashEncoder, MemoryCatalogue
from tests.retrieval.films import FILMS

USER = [{"role": "user", "content": "Something like Alien"}]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, ScriptedAssistant]]:
    assistant = ScriptedAssistant()
    with served(app_with(assistant)) as url:
        yield f"{url}/v1", assistant


@pytest.fixture
def client(server) -> Iterator[openai.OpenAI]:
    server[1].script = SCRIPT
    with openai.OpenAI(base_url=server[0], api_key="none", max_retries=0) as opened:
        yield opened


def test_openai_reads_a_whole_reply_with_recommendations(client):
    answer = client.chat.completions.create(model="sotto", messages=USER)

    message = answer.choices[0].message
    assert message.content == "".join(REPLY)
    for extra in (answer.model_extra, message.model_extra):
        assert [pick["title"] for pick in extra["recommendations"]] == ["Alien", "Solaris"]
        assert extra["recommendation_id"] == "rec-1"
    assert answer.usage.total_tokens == 134


def test_openai_reads_a_stream_with_recommendations(client):
    stream = client.chat.completions.create(
        model="sotto", messages=USER, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "".join(REPLY)
    carrying = [chunk for chunk in chunks if "recommendations" in (chunk.model_extra or {})]
    assert len(carrying) == 1
    assert carrying[0].choices[0].delta.model_extra["recommendations"][0]["id"] == "alien-1979"
    assert chunks[-1].usage.total_tokens == 134


def test_openai_sends_the_wish_back(client, server):
    answer = client.chat.completions.create(model="sotto", messages=USER)
    wish = answer.model_extra["wish"]
    client.chat.completions.create(model="sotto", messages=USER, extra_body={"wish": wish})
    assert server[1].requests[-1].wish == WISH


def test_openai_lists_models(client):
    assert [model.id for model in client.models.list()] == ["sotto"]
    assert client.models.retrieve("sotto").owned_by == "sotto"


def test_openai_raises_its_own_errors(client, server):
    with pytest.raises(openai.BadRequestError, match="n: ") as refused:
        client.chat.completions.create(model="sotto", messages=USER, n=2)
    assert (refused.value.param, refused.value.code) == ("n", "invalid_request")
    assert refused.value.request_id
    with pytest.raises(openai.NotFoundError, match="gpt-4o"):
        client.chat.completions.create(model="gpt-4o", messages=USER)
    server[1].script = [EngineUnavailable("The engine is starting.")]
    with pytest.raises(openai.APIStatusError, match="starting") as unavailable:
        client.chat.completions.create(model="sotto", messages=USER)
    assert (unavailable.value.status_code, unavailable.value.code) == (503, "engine_unavailable")
    assert unavailable.value.response.headers["retry-after"] == "5"
    server[1].script = [PLAN, Text("Two"), EngineUnavailable("The engine stopped.")]
    with pytest.raises(openai.APIError, match="stopped"):
        list(client.chat.completions.create(model="sotto", messages=USER, stream=True))


def test_a_wish_survives_the_way_to_the_client_and_back(client, server):
    plan = Plan("recommend", WISH, (), (), None, PLAN.adapter)
    server[1].script = [plan, Done("stop", Usage())]
    answer = client.chat.completions.create(model="sotto", messages=USER)
    assert answer.model_extra["recommendation_id"] is None
    assert answer.choices[0].message.content == ""
    assert answer.model_extra["wish"] == WISH.model_dump(mode="json")


@pytest.mark.parametrize("stream", [False, True])
def test_langchain_talks(client, server, stream):
    model = ChatOpenAI(model="sotto", base_url=server[0], api_key="none", temperature=0.2, max_retries=0)
    conversation = [("system", "Be brief."), ("human", "Something like Alien")]

    if stream:
        pieces = list(model.stream(conversation))
        text = "".join(piece.text for piece in pieces)
    else:
        text = model.invoke(conversation).text
    assert text == "".join(REPLY)
    turn = server[1].requests[-1]
    assert turn.messages == (ChatMessage("system", "Be brief."), ChatMessage("user", "Something like Alien"))
    assert turn.temperature == 0.2


def test_openai_reads_the_request_id_and_may_name_it(client):
    assert client.chat.completions.create(model="sotto", messages=USER)._request_id.startswith("req-")
    named = client.chat.completions.create(model="sotto", messages=USER, extra_headers={"x-request-id": "trace-7"})
    assert named._request_id == "trace-7"


def test_fields_that_mean_nothing_here_are_ignored(client, server):
    answer = client.chat.completions.create(
        model="sotto",
        messages=USER,
        user="ada",
        store=False,
        metadata={"a": "b"},
        logit_bias={"5": 1},
        frequency_penalty=0.5,
        response_format={"type": "text"},
        parallel_tool_calls=True,
        service_tier="auto",
        reasoning_effort="low",
        extra_body={"nonsense": [1, {"two": 3}]},
    )
    assert answer.choices[0].message.content == "".join(REPLY)
    assert answer.choices[0].finish_reason == "stop"


def test_openai_leaves_a_stream_and_the_generation_ends(client, server):
    assistant = server[1]
    assistant.script = [PLAN, Text("Two"), 60.0]
    closed = assistant.closed
    with client.chat.completions.create(model="sotto", messages=USER, stream=True) as stream:
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break
    for _ in range(500):
        if assistant.closed > closed:
            break
        time.sleep(0.02)
    assert assistant.closed == closed + 1


class RecommendItems(BaseModel):
    """Takes what is recommended."""

    model_config = ConfigDict(title="recommend_items")

    recommendations: list[dict[str, Any]]
    recommendation_id: str | None


TOOL = openai.pydantic_function_tool(RecommendItems, name="recommend_items")
TOOL["function"]["strict"] = False


def test_openai_gets_the_tool_call_beside_the_text(client):
    answer = client.chat.completions.create(model="sotto", messages=USER, tools=[TOOL])
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "".join(REPLY)
    [call] = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "recommend_items")
    assert [one["id"] for one in json.loads(call.function.arguments)["recommendations"]] == [
        "alien-1979",
        "solaris-1972",
    ]


def test_openai_puts_the_streamed_tool_call_together(client):
    with client.chat.completions.stream(model="sotto", messages=USER, tools=[TOOL]) as stream:
        final = stream.get_final_completion().choices[0]
    assert final.finish_reason == "tool_calls"
    assert final.message.content == "".join(REPLY)
    given = json.loads(final.message.tool_calls[0].function.arguments)
    assert given["recommendation_id"] == "rec-1"
    assert Wish.model_validate(given["wish"]) == WISH


@contextmanager
def conversing(tmp_path: Path, *replies: str) -> Iterator[openai.OpenAI]:
    """A client of the real dialogue, whose model writes ``replies``."""
    library = Library(MemoryCatalogue(FILMS), HashEncoder(), tmp_path / "index")
    engine = ScriptedEngine(lambda message: '{"act":"find","genres":["horror"]}', replies)
    app = app_with(Assistant(library, engine, CharTokenizer()), library=library)
    with served(app) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def test_a_stop_holds_in_what_openai_reads_whole_and_streamed(tmp_path):
    with conversing(tmp_path, *["Start with [1]. Then [2]. And [3]."] * 2) as client:
        asked = {"model": "sotto", "messages": USER, "stop": ["(1960)"], "seed": 1}
        whole = client.chat.completions.create(**asked)
        streamed = list(client.chat.completions.create(**asked, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed)
    assert whole.choices[0].message.content == text
    assert text.endswith("Psycho ")
    assert whole.choices[0].finish_reason == streamed[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_ends_the_reply_with_length(tmp_path, name):
    with conversing(tmp_path, "Start with [1]. Then [2]. And [3].") as client:
        answer = client.chat.completions.create(model="sotto", messages=USER, **{name: 16})
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content.startswith("Start with ")
    assert "Then" not in answer.choices[0].message.content


def test_a_seed_reproduces_a_reply(tmp_path):
    with conversing(tmp_path, *["Start with [1]. It is [1.genres]."] * 2) as client:
        answers = [
            client.chat.completions.create(model="sotto", messages=USER, seed=9, temperature=0.9) for _ in range(2)
        ]
    first, second = ({**answer.model_extra, "recommendation_id": None} for answer in answers)
    assert first == second
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content


def test_langchain_shows_the_tool_call_whole_and_streamed(client, server):
    model = ChatOpenAI(model="sotto", base_url=server[0], api_key="none", max_retries=0).bind_tools([TOOL])
    whole = model.invoke("Something like Alien")
    streamed = reduce(add, model.stream("Something like Alien"))
    for message in (whole, streamed):
        [call] = message.tool_calls
        assert call["name"] == "recommend_items"
        assert [one["title"] for one in call["args"]["recommendations"]] == ["Alien", "Solaris"]
    assert whole.text == "".join(REPLY)
    assert whole.response_metadata["finish_reason"] == "tool_calls"
    assert whole.usage_metadata["total_tokens"] == 134


def test_langchain_reads_recommendations_as_structured_output(client, server):
    model = ChatOpenAI(model="sotto", base_url=server[0], api_key="none", max_retries=0)
    answer = model.with_structured_output(TOOL, method="function_calling").invoke("Something like Alien")
    assert answer["recommendation_id"] == "rec-1"


def test_an_agent_of_langchain_takes_the_call_and_comes_to_an_end(client, server):
    taken: list[Any] = []

    @tool
    def recommend_items(recommendations: list[dict[str, Any]]) -> str:
        """Shows what is recommended."""
        taken.append(recommendations)
        return "shown"

    model = ChatOpenAI(model="sotto", base_url=server[0], api_key="none", max_retries=0)
    turns = len(server[1].requests)
    result = create_agent(model, [recommend_items]).invoke({"messages": [("human", "Something like Alien")]})
    assert [message.type for message in result["messages"]] == ["human", "ai", "tool", "ai"]
    assert [len(items) for items in taken] == [2]
    assert result["messages"][-1].text == "".join(REPLY)
    assert len(server[1].requests) == turns + 1
