"""POST /v1/feedback: the id that came with a reply takes a verdict, one in force at a time, and no text."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.api.fakes import client_of
from tests.api.test_metrics import ask, figures
from tests.api.whole import whole_app


async def judge(client: httpx.AsyncClient, identity: str, verdict: str, **more: str) -> httpx.Response:
    return await client.post("/v1/feedback", json={"recommendation_id": identity, "verdict": verdict, **more})


async def test_a_replys_recommendation_can_be_judged_and_judged_anew(tmp_path: Path) -> None:
    async with client_of(whole_app(tmp_path)) as client:
        identity = (await ask(client)).json()["recommendation_id"]
        told = [(await judge(client, identity, verdict)).json() for verdict in ("accepted", "accepted", "withdrawn")]
        assert [one["before"] for one in told] == ["withdrawn", "accepted", "accepted"]
        found = await figures(client)
    assert found["verdicts_total", ("live", "base", "accepted")] == 1
    assert found["verdicts_total", ("live", "base", "withdrawn")] == 1


async def test_the_ids_of_data_requests_can_be_judged_too(tmp_path: Path) -> None:
    async with client_of(whole_app(tmp_path)) as client:
        answer = await client.post("/v1/recommendations", json={"wish": {"genres": ["horror"]}})
        assert (await judge(client, answer.json()["recommendation_id"], "rejected")).status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"recommendation_id": "rec_made_up", "verdict": "accepted"}, "recommendation_id"),
        ({"recommendation_id": "", "verdict": "accepted"}, "recommendation_id"),
        ({"recommendation_id": "rec_a", "verdict": "loved"}, "verdict"),
        ({"recommendation_id": "rec_a", "verdict": "accepted", "comment": "I liked it"}, "comment"),
    ],
)
async def test_what_is_no_verdict_is_refused_by_its_field(tmp_path: Path, body: dict[str, str], param: str) -> None:
    async with client_of(whole_app(tmp_path)) as client:
        answer = await client.post("/v1/feedback", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
