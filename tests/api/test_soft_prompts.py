"""A personal soft prompt in a request: taken as plain numbers, and refused in OpenAI's form where it does not fit."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import torch
from langchain_openai import ChatOpenAI

from assistant.api.app import create_app
from assistant.engine.soft_prompts import MOST_TOKENS, NORM_RATIO, Embeddings
from assistant.rollout.service import Rollouts
from assistant.settings import Settings
from tests.api.fakes import ALIEN, REPLY, FakeEngine, FakeLibrary, ScriptedAssistant, app_with, served

USER = [{"role": "user", "content": "Something like Alien"}]
WIDTH = 4
FITS = [[0.5, -0.25, 1, 2.0]] * 2
BAD = [
    ([[1.0, 2.0]], "rows of 4 numbers"),
    ([[1.0] * WIDTH, [1.0]], "all of one length"),
    ([], "rows of 4 numbers"),
    ([[]], "rows of 4 numbers"),
    ([[1.0] * WIDTH] * (MOST_TOKENS + 1), f"{MOST_TOKENS} at most"),
    ([[NORM_RATIO + 0.01, 0.0, 0.0, 0.0]], "at most 10 is taken"),
    ([[1e300] * WIDTH], "at most 10 is taken"),
    ([["1.0"] * WIDTH], "valid number"),
    ([[True] * WIDTH], "valid number"),
    ("gASVIwAAAAAAAACMBXBvc2l4", "valid list"),
    ([[None] * WIDTH], "valid number"),
]
NOT_FINITE = ["NaN", "Infinity", "-Infinity", "1e999"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ScriptedAssistant]]:
    """A server whose model has embeddings of the width 4 and the norm 1."""
    assistant, embeddings = ScriptedAssistant(), Embeddings(torch.eye(WIDTH))
    app = create_app(
        Settings(home=tmp_path_factory.mktemp("home"), anonymous_requests_per_minute=0),
        assistant,
        FakeLibrary(ALIEN),
        FakeEngine(),
        rollouts=lambda database: Rollouts.of(database, "sotto", embeddings=embeddings),
    )
    with served(app) as url:
        yield f"{url}/v1", assistant


@pytest.fixture
def client(server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server[0], api_key="none", max_retries=0) as opened:
        yield opened


def langchain(url: str, soft_prompt: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model="sotto", base_url=url, api_key="none", max_retries=0, extra_body={"soft_prompt": soft_prompt}
    )


def test_openai_and_langchain_send_it_in_their_extra_body(server, client):
    client.chat.completions.create(model="sotto", messages=USER, extra_body={"soft_prompt": FITS})
    assert langchain(server[0], FITS).invoke("Something like Alien").text == "".join(REPLY)
    for turn in server[1].requests[-2:]:
        np.testing.assert_array_equal(turn.voice.soft_prompt, np.float32(FITS))
        assert turn.voice.soft_prompt.dtype == np.float32


@pytest.mark.parametrize("soft_prompt", [None, "left out"])
def test_without_one_nothing_stands_before_the_tokens(server, client, soft_prompt):
    body = {} if soft_prompt else {"soft_prompt": None}
    client.chat.completions.create(model="sotto", messages=USER, extra_body=body)
    assert server[1].requests[-1].voice.soft_prompt is None


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("soft_prompt", "said"), BAD)
def test_what_does_not_fit_is_refused_before_anything_is_asked(server, client, soft_prompt, said, stream):
    asked = len(server[1].requests)
    with pytest.raises(openai.BadRequestError, match=said) as refused:
        client.chat.completions.create(
            model="sotto", messages=USER, stream=stream, extra_body={"soft_prompt": soft_prompt}
        )
    assert refused.value.param is not None
    assert refused.value.param.partition(".")[0] == "soft_prompt"
    assert (refused.value.code, refused.value.type) == ("invalid_request", "invalid_request_error")
    assert len(server[1].requests) == asked


@pytest.mark.parametrize(("soft_prompt", "said"), [BAD[0], BAD[4], BAD[5]])
def test_langchain_raises_the_refusal(server, soft_prompt, said):
    with pytest.raises(openai.BadRequestError, match=said):
        langchain(server[0], soft_prompt).invoke("Something like Alien")


@pytest.mark.parametrize("route", ["chat/completions", "recommendations"])
@pytest.mark.parametrize("number", NOT_FINITE)
def test_numbers_that_are_not_finite_are_refused(server, route, number):
    body = json.dumps({"model": "sotto", "messages": USER} if route != "recommendations" else {"wish": {}})
    content = f'{body[:-1]}, "soft_prompt": [[1.0, {number}, 0, 0]]}}'
    with httpx.Client(base_url=server[0], headers={"content-type": "application/json"}) as client:
        answer = client.post(f"/{route}", content=content)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert "finite" in error["message"]
    assert (error["param"], error["code"]) == ("soft_prompt.0.1", "invalid_request")


def test_a_model_that_takes_none_says_so():
    with served(app_with(ScriptedAssistant())) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        with pytest.raises(openai.BadRequestError, match="leave soft_prompt out") as refused:
            client.chat.completions.create(model="sotto", messages=USER, extra_body={"soft_prompt": FITS})
        assert refused.value.param == "soft_prompt"
        assert client.chat.completions.create(model="sotto", messages=USER).choices


@pytest.mark.parametrize("soft_prompt", [[[0.7654321, 0.0, 0.0, 0.0]], [[765.4321, 0.0, 0.0, 0.0]]])
def test_its_numbers_are_not_logged(server, client, soft_prompt, caplog, capfd):
    caplog.set_level(logging.DEBUG, logger="assistant")
    answer = httpx.post(
        f"{server[0]}/chat/completions", json={"model": "sotto", "messages": USER, "soft_prompt": soft_prompt}
    )
    assert answer.status_code == (200 if soft_prompt[0][0] < 1 else 400)
    output = capfd.readouterr()
    assert "7654321" not in (caplog.text + output.out + output.err).replace(".", "")
