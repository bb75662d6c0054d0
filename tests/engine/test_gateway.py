"""The gateway: what it asks of vLLM, how it reads the answers, and what it makes of failures."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.dialogue.edit import by_act, edit_schema
from assistant.dialogue.types import Usage
from assistant.engine.gateway import MAX_LABELS, WHOLE, Completion, Delta, Sampling, VllmEngine
from assistant.engine.process import EngineProcess
from assistant.errors import ContextTooLong, EngineError, EngineRejected, EngineTimeout, EngineUnavailable
from assistant.settings import STARTER_PATH

GREEDY = Sampling(max_tokens=16)
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
Handler = Callable[[httpx.Request], httpx.Response]


def engine_over(handler: Handler) -> VllmEngine:
    return VllmEngine("http://engine", httpx.MockTransport(handler))


def piece(text: str, reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": text, "finish_reason": reason}]}


def sse(*events: Any, done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events]
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()


REPLY = sse(piece("a"), piece("b", "stop"), {"choices": [], "usage": USAGE})


class Chunks(httpx.AsyncByteStream):
    """A body in given pieces; knows whether it was closed."""

    def __init__(self, *chunks: bytes, wait: bool = False) -> None:
        self.chunks, self.wait, self.closed = chunks, wait, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk
        if self.wait:
            await asyncio.Event().wait()

    async def aclose(self) -> None:
        self.closed = True


async def deltas_of(engine: VllmEngine) -> list[Delta]:
    return [delta async for delta in engine.generate([1, 2, 3], model="sotto", sampling=GREEDY)]


async def test_streams_text_then_reason_then_usage() -> None:
    engine = engine_over(lambda _: httpx.Response(200, content=REPLY))
    assert await deltas_of(engine) == [Delta("a"), Delta("b", "stop"), Delta(usage=Usage(3, 2))]


async def test_sends_token_ids_and_only_the_sampling_asked_for() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=REPLY)

    sampling = Sampling(max_tokens=5, temperature=0.7, top_p=0.9, seed=3)
    schema = {"type": "object"}
    await engine_over(answer).complete([7, 8], model="sotto", sampling=sampling, schema=schema)
    await engine_over(answer).complete([7], model="sotto", sampling=GREEDY)
    assert seen[0].url.path == "/v1/completions"
    assert json.loads(seen[0].content) == {
        "model": "sotto",
        "prompt": [7, 8],
        "max_tokens": 5,
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 3,
        "structured_outputs": {"json": schema},
        "stream": True,
        "stream_options": {"include_usage": True},
        "stream_interval": WHOLE,
    }
    assert {"seed", "structured_outputs"}.isdisjoint(json.loads(seen[1].content))


async def test_more_than_the_model_takes_is_refused_before_it_is_sent() -> None:
    engine = VllmEngine("http://engine", httpx.MockTransport(lambda _: httpx.Response(200, content=REPLY)), context=20)
    assert (await engine.complete([1] * 4, model="sotto", sampling=GREEDY)).text == "ab"
    engine = VllmEngine("http://engine", httpx.MockTransport(pytest.fail), context=20)
    with pytest.raises(ContextTooLong, match="21 tokens") as refused:
        await engine.complete([1] * 5, model="sotto", sampling=GREEDY)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")
    with pytest.raises(ContextTooLong):
        await engine.label_logprobs([1] * 20, [1, 2], model="sotto")


async def test_complete_joins_the_pieces() -> None:
    engine = engine_over(lambda _: httpx.Response(200, content=REPLY))
    assert await engine.complete([1], model="sotto", sampling=GREEDY) == Completion("ab", "stop", Usage(3, 2))


@settings(deadline=None, max_examples=50)
@given(text=st.text(max_size=20), cut=st.integers(1, 7))
def test_text_arrives_whole_however_the_network_cuts_it(text: str, cut: int) -> None:
    # Line separators that are not newlines (U+2028, U+0085) and cuts within a character are where readers break.
    body = sse(piece(text, "stop"), {"choices": [], "usage": USAGE})
    chunks = Chunks(*(body[at : at + cut] for at in range(0, len(body), cut)))
    engine = engine_over(lambda _: httpx.Response(200, stream=chunks))
    completion = asyncio.run(engine.complete([1], model="sotto", sampling=GREEDY))
    assert completion.text == text


async def test_control_characters_are_kept_out_of_json() -> None:
    body = sse(piece('{"a":"x\x1b\ty"}', "stop"), {"choices": [], "usage": USAGE})
    engine = engine_over(lambda _: httpx.Response(200, content=body))
    free = await engine.complete([1], model="sotto", sampling=GREEDY)
    bound = await engine.complete([1], model="sotto", sampling=GREEDY, schema={"type": "object"})
    assert (free.text, json.loads(bound.text)) == ('{"a":"x\x1b\ty"}', {"a": "x  y"})


async def test_closing_the_generator_closes_the_stream() -> None:
    body = Chunks(sse(piece("a"), done=False), wait=True)
    engine = engine_over(lambda _: httpx.Response(200, stream=body))
    async with aclosing(engine.generate([1], model="sotto", sampling=GREEDY)) as deltas:
        assert (await anext(deltas)).text == "a"
        assert not body.closed
    assert body.closed


async def test_cancelling_a_completion_closes_the_stream() -> None:
    body = Chunks(sse(piece("a"), done=False), wait=True)
    engine = engine_over(lambda _: httpx.Response(200, stream=body))
    task = asyncio.create_task(engine.complete([1], model="sotto", sampling=GREEDY))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert body.closed


async def test_a_stream_without_its_end_is_an_engine_that_went_away() -> None:
    engine = engine_over(lambda _: httpx.Response(200, content=sse(piece("a"), done=False)))
    with pytest.raises(EngineUnavailable, match="middle of a reply"):
        await deltas_of(engine)


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"error": {"message": "dead", "code": 500}}, EngineError),
        ({"error": {"message": "too long", "code": 400}}, EngineRejected),
        ({"error": "odd"}, EngineError),
        (piece("", "abort"), EngineError),
        ([], EngineError),
    ],
)
async def test_a_failure_within_the_stream_is_raised(event: Any, error: type[EngineError]) -> None:
    engine = engine_over(lambda _: httpx.Response(200, content=sse(piece("a"), event)))
    with pytest.raises(error):
        await deltas_of(engine)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, EngineRejected),
        (404, EngineRejected),
        (429, EngineUnavailable),
        (500, EngineError),
        (503, EngineUnavailable),
    ],
)
async def test_statuses_become_errors_with_the_engines_message(status: int, error: type[EngineError]) -> None:
    body = {"error": {"message": "said so", "code": status}}
    engine = engine_over(lambda _: httpx.Response(status, json=body, headers={"retry-after": "9"}))
    with pytest.raises(error, match="said so") as caught:
        await engine.complete([1], model="sotto", sampling=GREEDY)
    assert type(caught.value) is error
    if isinstance(caught.value, EngineRejected):
        assert caught.value.status == status
    if isinstance(caught.value, EngineUnavailable):
        assert caught.value.retry_after == 9


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (httpx.ConnectError("refused"), EngineUnavailable),
        (httpx.ConnectTimeout("slow"), EngineUnavailable),
        (httpx.ReadTimeout("silent"), EngineTimeout),
        (httpx.RemoteProtocolError("gone"), EngineUnavailable),
    ],
)
async def test_network_failures_become_errors(raised: httpx.HTTPError, error: type[EngineError]) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise raised

    engine = engine_over(fail)
    with pytest.raises(error):
        await engine.models()
    assert not await engine.healthy()


async def test_only_the_routes_allowed_are_called() -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        pytest.fail("a request was sent")

    engine = engine_over(fail)
    for method, path in (("POST", "/invocations"), ("POST", "/v1/load_lora_adapter"), ("POST", "/health")):
        with pytest.raises(ValueError, match="not among the routes"):
            async with engine._request(method, path):
                pass


async def test_health_and_models() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"data": [{"id": "sotto"}]} if request.url.path == "/v1/models" else None)

    engine = engine_over(answer)
    assert await engine.healthy()
    assert await engine.models() == ["sotto"]


async def test_labels_are_normalised_among_themselves() -> None:
    found = {"token_id:5": -2.0, "token_id:9": -1.0, "token_id:4": -0.1}

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        assert body["logprob_token_ids"] == [9, 5]
        assert (body["max_tokens"], body["temperature"]) == (1, 0.0)
        return httpx.Response(200, json={"choices": [{"logprobs": {"top_logprobs": [found]}}]})

    logprobs = await engine_over(answer).label_logprobs([1], [9, 5], model="sotto")
    assert logprobs.dtype == np.float64
    assert np.exp(logprobs).sum() == pytest.approx(1)
    assert logprobs[0] - logprobs[1] == pytest.approx(1.0)


@pytest.mark.parametrize("found", [None, {"token_id:9": float("nan")}, {"token_id:8": -1.0}])
async def test_labels_without_numbers_are_an_error(found: Any) -> None:
    content = json.dumps({"choices": [{"logprobs": {"top_logprobs": [found]}}]})
    engine = engine_over(lambda _: httpx.Response(200, content=content))
    with pytest.raises(EngineError):
        await engine.label_logprobs([1], [9], model="sotto")


@pytest.mark.parametrize("labels", [[], [1, 1], list(range(MAX_LABELS + 1))])
async def test_labels_that_cannot_be_asked_for_are_refused(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="different token ids"):
        await engine_over(lambda _: httpx.Response(200)).label_logprobs([1], labels, model="sotto")


class Facets:
    """A vocabulary with every field."""

    genres = ("drama", "science fiction")
    moods = ("dark", "slow")
    countries = ("japan",)
    languages = ("japanese",)
    kinds = ("film", "series")


@pytest.fixture
async def real(starter_engine: EngineProcess) -> AsyncIterator[VllmEngine]:
    engine = VllmEngine(starter_engine.url)
    yield engine
    await engine.aclose()


@pytest.mark.engine
async def test_vllm_streams_a_reply(real: VllmEngine) -> None:
    assert await real.healthy()
    assert await real.models() == ["sotto"]
    sampling = Sampling(max_tokens=12, temperature=1.0, seed=1)
    deltas = [delta async for delta in real.generate([1, 5, 9], model="sotto", sampling=sampling)]
    usage = deltas[-1].usage
    assert usage is not None
    assert usage.prompt_tokens == 3
    assert 0 < usage.completion_tokens <= 12
    assert len([delta for delta in deltas if delta.text]) > 1
    whole = await real.complete([1, 5, 9], model="sotto", sampling=sampling)
    assert whole.text == "".join(delta.text for delta in deltas)


@pytest.mark.engine
async def test_vllm_writes_compact_json_under_a_schema(real: VllmEngine) -> None:
    schema = by_act(edit_schema(Facets(), ["T1", "T2", "S1"], ["P1"]))
    for seed in range(8):
        sampling = Sampling(max_tokens=1500, temperature=1.0, seed=seed)
        completion = await real.complete([1, 5, 9 + seed], model="sotto", sampling=sampling, schema=schema)
        assert completion.finish_reason == "stop"
        read = json.loads(completion.text)
        assert completion.text == json.dumps(read, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.engine
async def test_vllm_ranks_labels_as_transformers_does(real: VllmEngine) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    prompt, labels = [1, *range(20, 120)], [36, 37, 38, 39, 70, 80]
    model = AutoModelForCausalLM.from_pretrained(STARTER_PATH, dtype=torch.float32)
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0, -1].float()
    wanted = torch.log_softmax(logits[labels], dim=0).numpy()
    found = await real.label_logprobs(prompt, labels, model="sotto")
    assert np.ptp(wanted) > 0.5
    np.testing.assert_allclose(found, wanted, atol=1e-2)


@pytest.mark.engine
async def test_vllm_refuses_an_unknown_model_and_a_prompt_too_long(real: VllmEngine) -> None:
    with pytest.raises(EngineRejected, match="does not exist") as unknown:
        await real.complete([1], model="nobody", sampling=GREEDY)
    assert unknown.value.status == 404
    with pytest.raises(EngineRejected, match="maximum context length"):
        await real.complete([1] * 5000, model="sotto", sampling=GREEDY)


async def running(url: str) -> int:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        metrics = (await client.get("/metrics")).text
    found = re.search(r"^vllm:num_requests_running\{.*\} (\S+)$", metrics, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


@pytest.mark.engine
async def test_a_reader_that_leaves_aborts_the_generation_in_vllm(
    real: VllmEngine, starter_engine: EngineProcess
) -> None:
    # A schema that only a very long text fulfils: nothing else can end this reply within the test.
    schema = {"type": "object", "properties": {"a": {"type": "string", "minLength": 5000}}, "required": ["a"]}
    sampling = Sampling(max_tokens=2000, temperature=1.0, seed=1)
    async with aclosing(real.generate([1, 5], model="sotto", sampling=sampling, schema=schema)) as deltas:
        await anext(deltas)
        assert await running(starter_engine.url) == 1
    async with asyncio.timeout(5):
        while await running(starter_engine.url):  # noqa: ASYNC110  # another process's figure has no event
            await asyncio.sleep(0.1)


@pytest.mark.engine
async def test_no_word_of_a_prompt_or_reply_is_in_the_log(real: VllmEngine, starter_engine: EngineProcess) -> None:
    from transformers import AutoTokenizer

    prompt = AutoTokenizer.from_pretrained(STARTER_PATH).encode("my secret zebra crossing")
    reply = await real.complete(prompt, model="sotto", sampling=Sampling(max_tokens=40, temperature=1.0, seed=2))
    with pytest.raises(EngineRejected):
        await real.complete(prompt * 3000, model="sotto", sampling=GREEDY)
    with pytest.raises(EngineRejected):
        await real.complete(prompt, model="sotto", sampling=Sampling(max_tokens=4, temperature=-1.0))
    log = starter_engine.log_path.read_text(errors="replace")
    assert "Starting vLLM server" in log
    for secret in ("zebra", str(prompt)[1:-1], reply.text):
        assert secret not in log
