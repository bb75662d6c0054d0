"""Who gets in: keys, scopes, this machine alone without keys, and what is open to everybody."""

from __future__ import annotations

import logging

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from assistant.access.keys import SCOPES, KeyStore
from assistant.api import access
from assistant.errors import StateUnavailable
from tests.api.fakes import ALIEN, ScriptedAssistant, app_with, client_of, new_key, served

CHAT = "/v1/chat/completions"
BODY = {"model": "sotto", "messages": [{"role": "user", "content": "Something like Alien"}]}
OPEN = ("/", "/healthz", "/readyz", "/openapi.json", "/static/app.js")


@pytest.fixture
def app() -> FastAPI:
    return app_with(ScriptedAssistant())


async def get(app: FastAPI, path: str, **client: str) -> httpx.Response:
    headers = client.pop("headers", {})
    async with client_of(app, **client) as opened:
        return await opened.get(path, headers=headers)


@pytest.mark.parametrize("path", ["/v1/models", f"/v1/items/{ALIEN.id}", "/v1/nothing", "/admin/rollout", "/api/x"])
async def test_without_keys_other_machines_are_refused(app, path):
    answer = await get(app, path, address="10.0.0.7")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "no_keys_yet")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "sotto keys create" in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["forwarded", "x-forwarded-for", "x-real-ip"])
async def test_a_request_through_a_proxy_is_not_from_this_machine(app, name):
    assert (await get(app, "/v1/models")).status_code == 200
    assert (await get(app, "/v1/models", headers={name: "127.0.0.1"})).status_code == 401


async def test_a_proxy_on_this_machine_lets_nobody_in_over_a_real_connection(app):
    with served(app) as url:
        async with httpx.AsyncClient(base_url=url) as client:
            assert (await client.get("/v1/models")).status_code == 200
            for address in ("10.0.0.7", "127.0.0.1", "10.0.0.7, 127.0.0.1"):
                assert (await client.get("/v1/models", headers={"x-forwarded-for": address})).status_code == 401


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.7"])
async def test_with_a_key_everybody_needs_one(app, address):
    key = new_key(app)
    assert (await get(app, "/v1/models", key=key, address=address)).status_code == 200
    missing = await get(app, "/v1/models", address=address)
    assert (missing.status_code, missing.json()["error"]["code"]) == (401, "missing_api_key")
    assert missing.headers["www-authenticate"] == 'Bearer realm="sotto"'
    wrong = await get(app, "/v1/models", key="sk-sotto-nothing", address=address)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "invalid_api_key")
    assert wrong.headers["www-authenticate"] == 'Bearer realm="sotto", error="invalid_token"'
    assert wrong.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", OPEN)
async def test_the_page_and_the_probes_are_open(app, path):
    new_key(app)
    assert (await get(app, path, address="10.0.0.7")).status_code == 200


@pytest.mark.parametrize("header", ["Basic {}", "{}", "Bearer", "Bearer  ", "Bearerx {}", "Bearer {} {}"])
async def test_another_form_of_the_header_is_refused(app, header):
    key = new_key(app)
    assert (await get(app, "/v1/models", headers={"authorization": f"bearer  {key} "})).status_code == 200
    assert (await get(app, "/v1/models", headers={"authorization": header.format(key, key)})).status_code == 401


async def test_a_key_opens_what_it_is_for(app):
    key = new_key(app, "items")
    assert (await get(app, f"/v1/items/{ALIEN.id}", key=key)).status_code == 200
    assert (await get(app, "/v1/models", key=key)).status_code == 200
    async with client_of(app, key=key) as client:
        refused = await client.post(CHAT, json=BODY)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "insufficient_scope")
    assert 'error="insufficient_scope", scope="chat"' in refused.headers["www-authenticate"]


async def test_admin_takes_a_key_even_on_this_machine(app, monkeypatch):
    monkeypatch.setattr("assistant.access.keyring.FRESH_SECONDS", 0.0)
    refused = await get(app, "/admin/anything")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "insufficient_scope")
    assert (await get(app, "/admin/anything", key=new_key(app, "admin"))).status_code == 404


def test_every_route_is_open_or_has_a_scope(app):
    routes = [route.path for route in app.routes if isinstance(route, APIRoute)]
    unguarded = [path for path in routes if access.scope_of(path) is None and path not in access.OPEN]
    assert sorted(unguarded) == ["/v1/models", "/v1/models/{model_id}"]
    assert {scope for _, scope in access.SCOPES} == SCOPES


async def test_a_body_is_not_read_before_the_key():
    assistant = ScriptedAssistant()
    app = app_with(assistant)
    new_key(app)
    read = 0

    async def pieces():
        nonlocal read
        read += 1
        yield b"{"

    async with client_of(app) as client:
        assert (await client.post(CHAT, content=pieces())).status_code == 401
    assert read == 0
    assert assistant.requests == []


async def test_the_schema_says_that_a_key_is_sent(app):
    schema = (await get(app, "/openapi.json")).json()
    assert schema["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert schema["paths"][CHAT]["post"]["security"] == [{"HTTPBearer": []}]
    assert "security" not in schema["paths"]["/healthz"]["get"]


async def test_no_part_of_a_secret_is_told_or_logged(app, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    key = new_key(app, "items")
    with served(app, log_level="debug") as url:
        async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {key}"}) as client:
            answers = [await client.get("/v1/models"), await client.post(CHAT, json=BODY)]
        async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {key}x"}) as client:
            answers.append(await client.get("/v1/models"))
    output = capfd.readouterr()
    told = "".join(answer.text + str(answer.headers) for answer in answers)
    assert key.split("-", 3)[3] not in caplog.text + output.out + output.err + told


async def test_a_state_database_that_is_away_is_503_and_its_address_a_secret(app, monkeypatch, caplog):
    def broken() -> None:
        raise StateUnavailable("postgresql://sotto@db.internal/x is away")

    monkeypatch.setattr(app.state.access.keyring._store, "all", broken)
    answer = await get(app, "/v1/models")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "state_unavailable")
    assert answer.headers["retry-after"] == "5"
    assert "db.internal" not in answer.text
    assert "db.internal" in caplog.text


async def test_a_revoked_key_is_refused_by_a_running_server(app, monkeypatch):
    monkeypatch.setattr("assistant.access.keyring.FRESH_SECONDS", 0.0)
    key = new_key(app)
    assert (await get(app, "/v1/models", key=key)).status_code == 200
    KeyStore(app.state.access.database).revoke(key.split("-")[2])
    assert (await get(app, "/v1/models", key=key)).json()["error"]["code"] == "revoked_api_key"


@pytest.mark.parametrize(
    ("bound", "allowed", "name", "status"),
    [
        ("0.0.0.0", "", "sotto.example", 200),
        ("0.0.0.0", "sotto.example", "sotto.example:8000", 200),
        ("0.0.0.0", "sotto.example", "SOTTO.example", 200),
        ("0.0.0.0", " a.example , b.example ", "b.example", 200),
        ("0.0.0.0", "sotto.example", "127.0.0.1:8000", 200),
        ("0.0.0.0", "localhost", "evil.example", 400),
        ("0.0.0.0", "sotto.example", "evil.example", 400),
        ("0.0.0.0", "sotto.example", "sotto.example.evil.example", 400),
        ("127.0.0.1", "sotto.example", "sotto.example", 200),
        ("127.0.0.1", "sotto.example", "evil.example", 400),
        ("127.0.0.1", "*", "evil.example", 200),
    ],
)
async def test_the_names_a_server_goes_by_can_be_kept_on_every_address(bound, allowed, name, status):
    app = app_with(ScriptedAssistant(), host=bound, allowed_hosts=allowed)
    assert (await get(app, "/healthz", headers={"host": name})).status_code == status
