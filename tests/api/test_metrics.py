"""Traces and /metrics: they count what happens, and never hold a word of it."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from assistant.api.meter import MOST_RELEASES, Metrics
from assistant.dialogue.types import Objection, Stage, Text, Usage
from assistant.errors import EngineTimeout
from tests.api.fakes import PLAN, FakeEngine, ScriptedAssistant, app_with, client_of, served
from tests.api.test_chat import USER, frames
from tests.api.whole import SteadyEngine, whole_app

CHAT = "/v1/chat/completions"
Figures = dict[tuple[str, tuple[str, ...]], float]


async def figures(client: httpx.AsyncClient) -> Figures:
    """Every sample by its name and its labels' values, in the order of the labels' names."""
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for one in family.samples:
            labels = tuple(one.labels[name] for name in sorted(one.labels))
            found[one.name.removeprefix("sotto_"), labels] = one.value
    return found


async def ask(client: httpx.AsyncClient, content: str = "horror please", **fields: Any) -> httpx.Response:
    body = {"model": "sotto", "messages": [{"role": "user", "content": content}], **fields}
    return await client.post(CHAT, json=body)


async def test_a_trace_is_sent_only_when_asked_for(tmp_path: Path) -> None:
    async with client_of(whole_app(tmp_path)) as client:
        assert "trace" not in (await ask(client)).json()
        assert "trace" not in (await ask(client, trace=None)).json()
        assert '"trace"' not in (await ask(client, stream=True)).text
        trace = (await ask(client, trace=True)).json()["trace"]
    assert [one["stage"] for one in trace["stages"]] == list(get_args(Stage))
    assert 0 < trace["first_token"] <= trace["first_text"] <= trace["seconds"]
    assert sum(one["seconds"] for one in trace["stages"]) <= trace["seconds"]


@pytest.mark.parametrize("usage", [False, True])
async def test_a_streams_last_chunk_carries_the_trace(tmp_path: Path, usage: bool) -> None:
    async with client_of(whole_app(tmp_path)) as client:
        answer = await ask(client, stream=True, trace=True, stream_options={"include_usage": usage})
    *chunks, last, end = frames(answer.text)
    assert end == "[DONE]"
    assert last["trace"]["stages"]
    assert all("trace" not in chunk for chunk in chunks)


async def test_each_stage_tells_its_tokens_calls_and_retries(tmp_path: Path) -> None:
    engine = SteadyEngine(reply="Start with [1]. It won in 1931. Enjoy.")
    async with client_of(whole_app(tmp_path, engine)) as client:
        first, second = [(await ask(client, trace=True)).json() for _ in range(2)]
    stages = {one["stage"]: one for one in first["trace"]["stages"]}
    assert (stages["understand"]["engine_calls"], stages["understand"]["cache_hits"]) == (1, 0)
    assert stages["retrieve"]["engine_calls"] == 0
    assert stages["rank"]["completion_tokens"] == 1
    assert (stages["respond"]["engine_calls"], stages["respond"]["retries"]) == (3, 2)
    assert stages["respond"]["objections"]["foreign_number"] >= 1
    assert set(stages["respond"]["objections"]) <= set(get_args(Objection))
    for kind in ("prompt_tokens", "completion_tokens"):
        assert first["usage"][kind] == sum(one[kind] for one in stages.values())
    again = second["trace"]["stages"][0]
    assert (again["engine_calls"], again["cache_hits"], again["prompt_tokens"]) == (0, 1, 0)


async def test_turns_are_counted_by_task_stage_and_ending(tmp_path: Path) -> None:
    engine = SteadyEngine(reply="Start with [1]. It won in 1931.")
    async with client_of(whole_app(tmp_path, engine)) as client:
        before = await figures(client)
        trace = (await ask(client, trace=True)).json()["trace"]
        await ask(client, stream=True)
        after = await figures(client)
    assert before["turns_total", ("done", "recommend")] == 0
    assert after["turns_total", ("done", "recommend")] == 2
    assert after["stage_seconds_count", ("rank",)] == 2
    assert after["cache_hits_total", ("understand",)] == 1
    assert after["objections_total", ("foreign_number",)] >= 2
    assert after["tokens_total", ("prompt", "respond")] > trace["stages"][-1]["prompt_tokens"]
    assert after["time_to_first_token_seconds_count", ()] == 2
    assert after["requests_total", (CHAT, "200")] == 2
    assert after["requests_in_flight", ()] == 1, "the one that asks"
    assert after["catalogue_items", ()] > 0
    assert after["engine_up", ()] == 1


async def test_failures_refusals_and_an_engine_that_is_down_are_counted() -> None:
    assistant, engine = ScriptedAssistant([PLAN, EngineTimeout("too long")]), FakeEngine(up=False)
    async with client_of(app_with(assistant, engine=engine)) as client:
        await client.post(CHAT, json={"model": "sotto", "messages": USER, "stream": True})
        await client.post(CHAT, json={})
        await client.get("/v1/models", headers={"host": "evil.example"})
        found = await figures(client)
    assert found["turns_total", ("failed", "recommend")] == 1
    assert found["requests_total", (CHAT, "400")] == 1
    assert found["requests_total", ("none", "400")] == 1
    assert found["engine_up", ()] == 0


async def test_a_client_that_leaves_is_counted_as_such() -> None:
    with served(app_with(ScriptedAssistant([PLAN, Text("Two"), 60.0]))) as url:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client, asyncio.timeout(60):
            body = {"model": "sotto", "messages": USER, "stream": True}
            async with client.stream("POST", CHAT, json=body) as reply:
                await anext(reply.aiter_lines())
            while not (left := (await figures(client)).get(("turns_total", ("left", "recommend")))):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert left == 1


async def test_no_client_can_add_a_label(tmp_path: Path) -> None:
    async with client_of(whole_app(tmp_path)) as client:
        await client.get("/v1/items/alien")
        await ask(client, "anything", made_up="field")
        before = await figures(client)
        for path in ("/v1/items/xyzzy", "/v1/items/plugh", "/plover", "/static/plover.js", "/v1/models/plover"):
            await client.get(path)
            await client.request("XYZZY", path)
        after = await figures(client)
    added = set(after) - set(before)
    assert {name for name, _ in added} == {"requests_total", "requests_created"}
    routes = {labels[0] for _, labels in added}
    assert routes <= {"none", "/metrics", "/v1/items/{item_id}", "/v1/models/{model_id}", "/static"}


async def test_turns_tokens_and_residency_are_told_by_release_and_arm(tmp_path: Path) -> None:
    app = whole_app(tmp_path)
    metrics: Metrics = app.state.serving.metrics
    async with client_of(app) as client:
        await ask(client)
        metrics.spoke("canary", "a" * 64, Usage(10, 3))
        metrics.spoke("control", None, None)
        found = await figures(client)
    assert found["release_turns_total", ("live", "done", "base")] == 1
    assert found["release_tokens_total", ("live", "prompt", "base")] > 0
    assert found["release_turns_total", ("canary", "done", "a" * 12)] == 1
    assert found["release_tokens_total", ("canary", "completion", "a" * 12)] == 3
    assert found["release_turns_total", ("control", "failed", "base")] == 1
    metrics.resident(["a" * 64, "a" * 64, "b" * 64])
    kept = {one.labels["release"]: one.value for family in metrics.residency.collect() for one in family.samples}
    assert kept == {"a" * 12: 2, "b" * 12: 1}


def test_however_many_releases_there_were_only_the_latest_have_labels() -> None:
    metrics = Metrics()
    for at in range(3 * MOST_RELEASES):
        metrics.spoke("live", f"{at:064d}"[::-1], Usage(1, 1))
        metrics.resident([f"{at:064d}"[::-1]])
    families = (metrics.spoken, metrics.release_tokens, metrics.residency)
    for counted, most in zip(families, (MOST_RELEASES, MOST_RELEASES, 1), strict=True):
        labels = {one.labels["release"] for family in counted.collect() for one in family.samples}
        assert len(labels) == most
        assert f"{3 * MOST_RELEASES - 1:064d}"[::-1][:12] in labels


def contents(folder: Path) -> list[str]:
    """Every file below ``folder``."""
    return [file.read_bytes().decode("latin-1") for file in folder.rglob("*") if file.is_file()]


MARKS = (
    "xyzzymessage",
    "xyzzysystem",
    "xyzzyearlier",
    "xyzzyreply",
    "xyzzywish",
    "xyzzystop",
    "xyzzyfield",
    "xyzzypath",
)


@pytest.mark.parametrize("stream", [False, True])
async def test_no_word_of_a_conversation_is_kept_or_told(
    own_home: Path, stream: bool, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    message, system, earlier, reply, wish, stop, unknown, path = MARKS
    engine = SteadyEngine(reply=f"Start with [1]. It is by Mister {reply.title()} of {reply}. Enjoy {reply}.")
    body: dict[str, Any] = {
        "model": "sotto",
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": earlier},
            {"role": "assistant", "content": f"Alien (1979) is {earlier}."},
            {"role": "user", "content": f"horror {message}"},
        ],
        "wish": {"about": wish},
        "stop": [stop],
        "stream": stream,
        "trace": True,
        unknown: unknown,
    }
    traces = []
    with served(whole_app(own_home, engine), log_level="debug") as url:
        async with httpx.AsyncClient(base_url=url) as client:
            for change in ({}, {"wish": None}, {"n": message}, {"messages": body["messages"] * 300}):
                answer = await client.post(CHAT, json={**body, **change})
                if answer.is_success:
                    said = frames(answer.text)[-2] if stream else answer.json()
                    traces.append(json.dumps(said["trace"]))
            await client.get(f"/v1/items/{path}?{path}={path}", headers={"user-agent": path, "referer": path})
            metrics = (await client.get("/metrics")).text
    assert len(traces) == 2
    assert any(message in prompt for prompt in engine.prompts)
    output = capfd.readouterr()
    kept = contents(own_home)
    logged = [one.getMessage() for one in caplog.records if not one.name.startswith(("httpx", "httpcore"))]
    for place in (metrics, *traces, *logged, output.out, output.err, *kept):
        assert not [mark for mark in MARKS if mark in place.lower()]
