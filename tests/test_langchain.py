"""The LangChain tool, against a faked far side and against the API itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.tools import ToolException
from pydantic import ValidationError

from assistant.errors import EngineUnavailable
from assistant.langchain import SottoTool, Wanted
from retrieval.wish import Wish
from tests.api.fakes import REPLY, ScriptedAssistant, app_with, served
from tests.retrieval.fakes import HashEncoder

DOCUMENT = Path(__file__).parents[1].joinpath("docs", "langchain.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)

CALL = {"type": "tool_call", "id": "1", "name": "sotto_recommend", "args": {"request": "like Alien"}}


def in_process(assistant: ScriptedAssistant, **fields: Any) -> SottoTool:
    return SottoTool(async_transport=httpx.ASGITransport(app_with(assistant)), **fields)


def answering(answer: Any, **fields: Any) -> tuple[SottoTool, list[httpx.Request]]:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return SottoTool(transport=httpx.MockTransport(handle), **fields), seen


async def test_an_agent_gets_the_reply_with_its_items_and_the_rest_as_the_artifact() -> None:
    message = await in_process(ScriptedAssistant()).ainvoke(CALL)
    lines = message.content.splitlines()
    assert lines[0] == "".join(REPLY)
    assert lines[1] == "1. Alien (1979), id alien-1979: dread in deep space"
    assert [one["id"] for one in message.artifact["recommendations"]] == ["alien-1979", "solaris-1972"]
    assert message.artifact["recommendation_id"] == "rec-1"


async def test_count_and_exclusions_travel_in_the_wish() -> None:
    assistant = ScriptedAssistant()
    await in_process(assistant).ainvoke({"request": "like Alien", "count": 5, "exclude": ["alien-1979"]})
    assert assistant.requests[0].messages[-1].content == "like Alien"
    assert assistant.requests[0].wish == Wish(count=5, seen=("alien-1979",))


def test_it_asks_by_http_with_its_key() -> None:
    body = {
        "choices": [{"message": {"content": "Nothing fits."}}],
        "recommendations": [],
        "recommendation_id": None,
        "adapter": {},
        "wish": {},
    }
    tool, seen = answering(httpx.Response(200, json=body), base_url="http://sotto.example/v1/", api_key="secret")
    assert tool.invoke({"request": "a film"}) == "Nothing fits."
    assert str(seen[0].url) == "http://sotto.example/v1/chat/completions"
    assert seen[0].headers["authorization"] == "Bearer secret"
    assert json.loads(seen[0].content)["model"] == "sotto"
    assert "secret" not in repr(tool)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.ConnectError("refused"), "No Sotto answers"),
        (httpx.ReadTimeout("slow"), "No Sotto answers"),
        (httpx.Response(200, text="<html>"), "is not Sotto"),
        (httpx.Response(200, json={"choices": []}), "is not Sotto"),
        (httpx.Response(502, json=[]), "is not Sotto"),
        (httpx.Response(429, json={"error": {"message": "Too many requests."}}), "429.*Too many"),
    ],
)
def test_what_goes_wrong_is_said_plainly(answer: Any, said: str) -> None:
    tool, _ = answering(answer)
    with pytest.raises(ToolException, match=said):
        tool.invoke({"request": "a film"})
    forgiving, _ = answering(answer, handle_tool_error=True)
    assert forgiving.invoke({"request": "a film"})


async def test_an_engine_that_is_starting_is_told_to_the_agent() -> None:
    tool = in_process(ScriptedAssistant([EngineUnavailable("The engine is starting.")]), handle_tool_error=True)
    assert "503" in await tool.ainvoke({"request": "a film"})


def test_arguments_are_described_and_checked() -> None:
    properties = SottoTool().args
    assert set(properties) == {"request", "count", "exclude"}
    assert all(one["description"] for one in properties.values())
    with pytest.raises(ValidationError):
        Wanted(request="")
    with pytest.raises(ValidationError):
        SottoTool().invoke({"request": "a film", "count": 99})


@pytest.mark.parametrize("example", EXAMPLES, ids=["model", "tool", "retriever"])
def test_an_example_of_the_documentation_works(
    example: str, own_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("retrieval.search.TextEncoder", HashEncoder)
    with served(app_with(ScriptedAssistant())) as url:
        exec(example.replace("http://127.0.0.1:8000", url).replace("~/.sotto", str(own_home)), {})  # noqa: S102
    assert len(capsys.readouterr().out.splitlines()) >= 3
