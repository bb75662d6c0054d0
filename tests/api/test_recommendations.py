"""POST /v1/recommendations: a wish as data in, items out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from assistant.dialogue.types import Done, Plan, Usage
from assistant.errors import EngineUnavailable
from retrieval.wish import Wish
from tests.api.fakes import DONE, PLAN, WISH, ScriptedAssistant, app_with, client_of
from tests.api.test_metrics import figures
from tests.api.whole import SteadyEngine, whole_app

ROUTE = "/v1/recommendations"


async def post(assistant: ScriptedAssistant, body: dict[str, Any]) -> httpx.Response:
    async with client_of(app_with(assistant)) as client:
        return await client.post(ROUTE, json=body)


async def test_items_come_with_score_and_reason_and_no_words() -> None:
    answer = (await post(ScriptedAssistant(), {"wish": {"genres": ["science fiction"]}})).json()
    assert set(answer) == {"recommendations", "adapter", "recommendation_id", "wish", "relaxed", "usage"}
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
    await post(assistant, {"wish": None, "exclude": None, "model": None})
    await post(assistant, {"wish": {"genres": None, "count": None, "about": None, "kind": None}})
    first, second, third, *rest = assistant.wishes
    assert (first.wish, first.exclude, first.seed) == (Wish(like=("alien-1979",), count=7), ("solaris-1972",), 5)
    assert (second.wish.count, second.exclude, second.seed) == (3, (), None)
    assert [third.wish, *(one.wish for one in rest)] == [Wish()] * 3
    assert [one.model for one in rest] == ["sotto", "sotto"]


async def test_what_was_given_up_is_told() -> None:
    plan = Plan("relaxed", WISH, PLAN.recommendations, PLAN.items, "rec-2", PLAN.adapter, ("1980-1989",))
    answer = (await post(ScriptedAssistant([plan, DONE]), {"wish": {"year_from": 1980, "year_to": 1989}})).json()
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
        ({"wish": {"year_from": 1990, "year_to": 1980}}, "wish"),
        ({"wish": {"genre": None}}, "wish.genre"),
    ],
)
async def test_a_malformed_request_is_refused_by_the_name_of_its_field(body: dict[str, Any], param: str) -> None:
    answer = await post(ScriptedAssistant(), body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_model_that_is_not_served_and_an_engine_that_is_down_are_told() -> None:
    assert (await post(ScriptedAssistant(), {"model": "gpt-4o"})).json()["error"]["code"] == "model_not_found"
    answer = await post(ScriptedAssistant([EngineUnavailable("It is starting.", retry_after=3)]), {})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")


async def test_its_tokens_are_told_traced_and_counted(tmp_path: Path) -> None:
    engine = SteadyEngine()
    async with client_of(whole_app(tmp_path, engine)) as client:
        plain = (await client.post(ROUTE, json={"wish": {"genres": ["horror"]}})).json()
        traced = (await client.post(ROUTE, json={"wish": {"genres": ["horror"]}, "trace": True})).json()
        counted = await figures(client)
    (prompt, _) = engine.prompts
    assert plain["usage"] == {"prompt_tokens": len(prompt), "completion_tokens": 1, "total_tokens": len(prompt) + 1}
    assert "trace" not in plain
    assert [one["stage"] for one in traced["trace"]["stages"]] == ["retrieve", "rank"]
    assert traced["trace"]["stages"][1]["prompt_tokens"] == len(prompt)
    assert counted["tokens_total", ("prompt", "rank")] == 2 * len(prompt)
    assert counted["engine_calls_total", ("rank",)] == 2
    assert counted["turns_total", ("done", "recommend")] == 0, "nobody conversed"


async def test_its_tokens_are_taken_from_the_rate_and_a_failure_costs_none() -> None:
    assistant = ScriptedAssistant([PLAN, Done("stop", Usage(600, 1))])
    app = app_with(assistant, anonymous_tokens_per_minute=1000)
    async with client_of(app) as client:
        answers = [await client.post(ROUTE, json={}) for _ in range(2)]
        refused = await client.post(ROUTE, json={})
    assert [answer.headers["x-ratelimit-remaining-tokens"] for answer in answers] == ["999", "398"]
    assert (refused.status_code, refused.headers["x-ratelimit-remaining-tokens"]) == (429, "0")
    assert len(assistant.wishes) == 2
    failing = app_with(ScriptedAssistant([EngineUnavailable("It is starting.")]), anonymous_tokens_per_minute=1)
    async with client_of(failing) as client:
        assert [(await client.post(ROUTE, json={})).status_code for _ in range(2)] == [503, 503]
