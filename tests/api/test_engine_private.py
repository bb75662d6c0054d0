"""vLLM stays private: whatever a client sends, only the gateway's own routes and fields reach the engine."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assistant.api.schemas import ChatRequest
from assistant.engine.gateway import ALLOWED, VllmEngine
from retrieval.search import Library
from tests.api.fake_vllm import FakeVllm, dialogue, library
from tests.api.fakes import app_with, client_of

CHAT = "/v1/chat/completions"
FIELDS = {
    "model",
    "prompt",
    "max_tokens",
    "temperature",
    "top_p",
    "seed",
    "stop",
    "stream",
    "stream_interval",
    "stream_options",
}
FIELDS |= {"structured_outputs", "logprobs", "logprob_token_ids", "return_tokens_as_token_ids"}
MARK = "xyzzy-7f3a"
FOREIGN: dict[str, Any] = {
    "prompt_embeds": MARK,
    "prompt": MARK,
    "lora": MARK,
    "lora_name": MARK,
    "lora_path": MARK,
    "adapters": [MARK],
    "guided_json": {"x": MARK},
    "structured_outputs": {"regex": MARK},
    "logits_processors": [MARK],
    "kv_transfer_params": {"do_remote_prefill": MARK},
    "cache_salt": MARK,
    "echo": MARK,
    "suffix": MARK,
    "chat_template": MARK,
    "mm_processor_kwargs": {"x": MARK},
    "logit_bias": {"1": MARK},
    "priority": MARK,
    "best_of": MARK,
    "extra_body": {"prompt_embeds": MARK},
}
names = st.sampled_from(sorted(FOREIGN)) | st.text(max_size=20)


@pytest.fixture
def vllm() -> FakeVllm:
    return FakeVllm()


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return library(tmp_path_factory.mktemp("index"))


@pytest.fixture
def client(vllm: FakeVllm, films: Library) -> httpx.AsyncClient:
    engine = VllmEngine("http://engine", httpx.ASGITransport(vllm.app))
    return client_of(app_with(dialogue(engine, films), engine=engine, anonymous_requests_per_minute=0))


def ask(**fields: Any) -> dict[str, Any]:
    return {"model": "sotto", "messages": [{"role": "user", "content": "a horror film"}], **fields}


def assert_private(vllm: FakeVllm) -> None:
    for method, path, body in vllm.requests:
        assert (method, path) in ALLOWED
        assert set(body) <= FIELDS
        assert body.get("model", "sotto") == "sotto"
        assert MARK not in json.dumps(body)
        assert all(isinstance(token, int) for token in body.get("prompt", ()))


async def test_a_field_of_vllms_own_goes_no_further(client, vllm):
    answer = await client.post(CHAT, json=ask(**FOREIGN))
    assert answer.status_code == 200, answer.text
    assert vllm.requests
    assert_private(vllm)


async def test_a_model_of_another_name_never_reaches_it(client, vllm):
    for model in ("/etc/passwd", "../sotto", "sotto/adapter", "sotto@main", "adapter-1", "sotto\n", "SOTTO", " sotto"):
        answer = await client.post(CHAT, json=ask(model=model))
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert vllm.requests == []


async def test_a_route_of_vllms_own_is_not_passed_on(client, vllm):
    guarded = "/adapters /adapters/x /v1/load_lora_adapter /v1/unload_lora_adapter /invocations /generative_scoring"
    others = "/v1/completions /v1/embeddings /tokenize /health /v1/../adapters /v1/models/../../adapters"
    escaped = "/v1/items/..%2F..%2Fadapters /v1/models/%2Fadapters"
    for path in f"{guarded} {others} {escaped}".split():
        for method in ("GET", "POST", "DELETE"):
            answer = await client.request(method, path, json=ask(lora_name=MARK, lora_path="/srv/x"))
            assert answer.status_code in {404, 405}
    assert vllm.requests == []


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=st.dictionaries(names, st.sampled_from([MARK, [MARK], {"prompt_embeds": MARK}]), max_size=5))
async def test_no_field_that_is_not_read_reaches_it(client, vllm, fields):
    vllm.requests.clear()
    unread = {name: value for name, value in fields.items() if name not in ChatRequest.model_fields}
    await client.post(CHAT, json=ask(**unread))
    assert vllm.requests
    assert_private(vllm)


async def test_the_gateway_calls_no_other_route():
    engine = VllmEngine("http://engine", httpx.ASGITransport(FakeVllm().app))
    for method, path in (("POST", "/adapters"), ("DELETE", "/v1/completions"), ("GET", "/v1/models/../adapters")):
        with pytest.raises(ValueError, match="not among the routes"):
            await engine._json(method, path)
    await engine.aclose()
