"""OpenAI's and LangChain's own clients work by base URL alone."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from langchain_openai import ChatOpenAI

from assistant.dialogue.types import ChatMessage, Done, Plan, Text, Usage
from assistant.errors import EngineUnavailable
from tests.api.fakes import PLAN, REPLY, SCRIPT, WISH, ScriptedAssistant, app_with, served

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
    with pytest.raises(openai.InternalServerError, match="starting"):
        client.chat.completions.create(model="sotto", messages=USER)
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
