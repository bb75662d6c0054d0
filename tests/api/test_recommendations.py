"""POST /v1/recommendations: a wish as data in, items out."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from assistant.dialogue.types import Plan
from assistant.errors import EngineUnavailable
from retrieval.wish import Wish
from tests.api.fakes import PLAN, WISH, ScriptedAssistant, app_with, client_of

ROUTE = "/v1/recommendations"


async def post(assistant: ScriptedAssistant, body: dict[str, Any]) -> httpx.Response:
    async with client_of(app_with(assistant)) as client:
        return await client.post(ROUTE, json=body)


async def test_items_come_with_score_and_reason_and_no_words() -> None:
    answer = (await post(ScriptedAssistant(), {"wish": {"genres": ["science fiction"]}})).json()
    assert set(answer) == {"recommendations", "adapter", "recommendation_id", "wish", "relaxed"}
    assert answer["recommendations"] == [one.model_dump() for one in PLAN.recommendations]
    assert answer["recommendation_id"] == "rec-1"
    assert answer["relaxed"] == []
    assert Wish.model_validate(answer["wish"]) == WISH


async def test_the_wish_and_what_stands_beside_it_reach_the_dialogue() -> None:
    assistant = ScriptedAssistant()
    wish = {"like": ["alien-1979"], "count": 3}
    await post(assistant, {"wish": wish, "count": 7, "exclude": ["solaris-1972"], "seed": 5})
    await post(assistant, {"wish": wish, "count": None, "seed": None})
    await post(assistant, {})
    first, second, third = assistant.wishes
    assert (first.wish, first.exclude, first.seed) == (Wish(like=("alien-1979",), count=7), ("solaris-1972",), 5)
    assert (second.wish.count, second.exclude, second.seed) == (3, (), None)
    assert third.wish == Wish()


async def test_what_was_given_up_is_told() -> None:
    plan = Plan("relaxed", WISH, PLAN.recommendations, PLAN.items, "rec-2", PLAN.adapter, ("1980-1989",))
    answer = (await post(ScriptedAssistant([plan]), {"wish": {"year_from": 1980, "year_to": 1989}})).json()
    assert answer["relaxed"] == ["1980-1989"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"wish": {"genre": "drama"}}, "wish.genre"),
        ({"wish": {"year_to": 10**30}}, "wish.year_to"),
        ({"wishes": {}}, "wishes"),
        ({"count": 11}, "count"),
        ({"exclude": "alien-1979"}, "exclude"),
        ({"seed": 2**64}, "seed"),
    ],
)
async def test_a_malformed_request_is_refused_by_the_name_of_its_field(body: dict[str, Any], param: str) -> None:
    answer = await post(ScriptedAssistant(), body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_model_that_is_not_served_and_an_engine_that_is_down_are_told() -> None:
    assert (await post(ScriptedAssistant(), {"model": "gpt-4o"})).json()["error"]["code"] == "model_not_found"
    answer = await post(ScriptedAssistant([EngineUnavailable("It is starting.", retry_after=3)]), {})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
