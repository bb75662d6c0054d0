"""What holds for every route: errors in one form, an id on each answer, limits, hosts and headers."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from assistant.engine.fleet import Replica
from assistant.engine.gateway import VllmEngine
from tests.api.fakes import ALIEN, FakeEngine, FakeLibrary, ScriptedAssistant, app_with, client_of, served, until

CHAT = "/v1/chat/completions"


async def fetch(method: str, path: str, *, base_url: str = "http://127.0.0.1:8000", host: str = "127.0.0.1", **options):
    async with client_of(app_with(ScriptedAssistant(), host=host), base_url) as client:
        return await client.request(method, path, **options)


@pytest.mark.parametrize("path", ["/v1/nothing", "/api/nothing", "/api", "/static/nothing.js", "/static/../app.py"])
async def test_an_unknown_address_is_a_json_404(path):
    answer = await fetch("GET", path)
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"]


async def test_a_wrong_method_says_which_are_right():
    answer = await fetch("GET", CHAT)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    "options",
    [
        {"content": b"{", "headers": {"content-type": "application/json"}},
        {"content": b"[]", "headers": {"content-type": "application/json"}},
        {"content": b'{"model": "sotto"}', "headers": {"content-type": "text/plain"}},
        {"content": b"[" * 100_000, "headers": {"content-type": "application/json"}},
        {},
    ],
    ids=["cut off", "not an object", "not declared", "deeply nested", "absent"],
)
async def test_a_body_that_is_no_json_object_is_refused(options):
    answer = await fetch("POST", CHAT, **options)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_json"


async def test_a_large_body_is_refused_by_its_declared_length():
    answer = await fetch("POST", CHAT, content=b" " * (1024 * 1024 + 1))
    assert answer.status_code == 413
    assert "1024 KiB" in answer.json()["error"]["message"]
    assert answer.json()["error"]["code"] == "request_too_large"


async def test_a_large_body_is_refused_when_its_length_is_not_declared():
    async def pieces():
        for _ in range(20):
            yield b" " * 64 * 1024

    answer = await fetch("POST", CHAT, content=pieces(), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


async def test_a_clients_request_id_comes_back_when_it_is_well_formed():
    given = await fetch("GET", "/healthz", headers={"x-request-id": "trace-1"})
    assert given.headers["x-request-id"] == "trace-1"
    replaced = await fetch("GET", "/healthz", headers={"x-request-id": "bad id\t"})
    assert replaced.headers["x-request-id"].startswith("req-")


@pytest.mark.parametrize("name", ["127.0.0.1:8000", "localhost", "LOCALHOST:8000", "[::1]:8000"])
async def test_a_server_on_loopback_answers_to_loopback_names(name):
    assert (await fetch("GET", "/healthz", headers={"host": name})).status_code == 200


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "[::1"])
async def test_a_server_on_loopback_refuses_other_names(name):
    answer = await fetch("GET", "/v1/models", headers={"host": name})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "host_not_allowed"


async def test_a_server_on_a_network_answers_to_any_name():
    assert (await fetch("GET", "/healthz", host="0.0.0.0", base_url="http://sotto.example")).status_code == 200


@pytest.mark.parametrize("path", ["/", "/v1/models", "/v1/nothing", "/static/app.js"])
async def test_every_answer_carries_safe_headers(path):
    headers = (await fetch("GET", path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'; script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


async def test_models_are_listed_and_read():
    listed = (await fetch("GET", "/v1/models")).json()
    assert [model["id"] for model in listed["data"]] == ["sotto"]
    read = (await fetch("GET", "/v1/models/sotto")).json()
    assert (read["object"], read["owned_by"]) == ("model", "sotto")
    missing = await fetch("GET", "/v1/models/gpt-4o")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


async def test_an_item_is_read_with_every_field():
    item = (await fetch("GET", f"/v1/items/{ALIEN.id}")).json()
    assert item == ALIEN.model_dump(mode="json")
    missing = await fetch("GET", "/v1/items/nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")


async def test_health_does_not_depend_on_the_engine_and_readiness_does():
    app = app_with(ScriptedAssistant(), engine=FakeEngine(up=False))
    async with client_of(app) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        answer = await client.get("/readyz")
    assert (answer.status_code, list(answer.json()["missing"])) == (503, ["engine"])
    assert answer.headers["retry-after"]
    assert (await fetch("GET", "/readyz")).json() == {"status": "ready", "items": 2}


async def test_readiness_tells_a_fleet_that_was_drained_from_an_engine_that_is_down():
    app = app_with(ScriptedAssistant())
    url = "http://127.0.0.1:8001"
    replica = Replica(url, VllmEngine(url), up=True, draining=True)
    app.state.serving.rollouts.router.fleet.replicas[url] = replica
    async with client_of(app) as client:
        assert "drained" in (await client.get("/readyz")).json()["missing"]["engine"]
        replica.draining = False
        assert (await client.get("/readyz")).status_code == 200


async def test_an_empty_catalogue_is_not_ready():
    app = app_with(ScriptedAssistant())
    object.__setattr__(app.state.serving, "library", FakeLibrary())
    async with client_of(app) as client:
        answer = await client.get("/readyz")
    assert list(answer.json()["missing"]) == ["catalogue"]
    assert "sotto catalogue import" in answer.json()["error"]["message"]


async def test_the_schema_has_an_example_and_one_form_of_error():
    schema = (await fetch("GET", "/openapi.json")).json()
    chat = schema["paths"][CHAT]["post"]
    assert schema["components"]["schemas"]["ChatRequest"]["examples"][0]["model"] == "sotto"
    assert "422" not in chat["responses"]
    assert chat["responses"]["4XX"]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorBody")
    assert "text/event-stream" in chat["responses"]["200"]["content"]


def test_what_is_under_way_when_the_server_stops_is_told_so(capfd: pytest.CaptureFixture[str]):
    assistant = ScriptedAssistant([60.0])
    with ThreadPoolExecutor() as pool:
        with served(app_with(assistant)) as url:
            body = {"model": "sotto", "messages": [{"role": "user", "content": "horror"}]}
            asked = pool.submit(httpx.post, url + CHAT, json=body, timeout=30)
            asyncio.run(until(lambda: bool(assistant.requests)))
        answer = asked.result()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stopping")
    assert answer.headers["retry-after"]
    assert "Traceback" not in capfd.readouterr().err
