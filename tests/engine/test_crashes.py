"""kill -9, of vLLM in the middle of a reply and of the API in the middle of a request."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from assistant.engine.process import EngineProcess
from assistant.settings import STARTER_PATH
from tests.cli.test_up import started
from tests.engine.conftest import free_port
from tests.engine.models import make_model

HERE = Path(__file__).parent
CHAT = "/v1/chat/completions"
WITH_ALL = "import tests.engine.endless, typer; from assistant.cli import up; typer.run(up.command)"
BODY: dict[str, Any] = {"model": "sotto", "messages": [{"role": "user", "content": "a horror film"}]}
LONG = {**BODY, "stream": True, "max_tokens": 1024}
SHORT = {**BODY, "max_tokens": 8}

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


def until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes)


def answers(client: httpx.Client, path: str = "/readyz") -> bool:
    try:
        return client.get(path).is_success
    except httpx.TransportError:
        return False


def running(url: str) -> int:
    """The requests that vLLM works on."""
    metrics = httpx.get(f"{url}/metrics", trust_env=False).text
    return int(sum(map(float, re.findall(r"^vllm:num_requests_running\{.*\} (\S+)$", metrics, re.MULTILINE))))


@contextmanager
def client_of(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
        yield client


def test_a_killed_vllm_is_an_error_in_the_stream_and_back_for_the_next_request_and_dies_with_its_api(
    tmp_path: Path,
) -> None:
    model = make_model(tmp_path / "llama", "llama")
    with started(tmp_path / "home", model, "-c", WITH_ALL) as run, client_of(run.url) as client:
        run.wait_ready()
        before = run.children()
        with client.stream("POST", CHAT, json=LONG) as answer:
            lines = answer.iter_lines()
            next(lines)  # the turn's plan: the reply is being written now
            next(one for one in before if "vllm.entrypoints.openai.api_server" in one.cmdline()).kill()
            *_, error, end = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        assert answer.status_code == 200
        assert end == "[DONE]"
        told = json.loads(error)
        assert set(told["error"]) == {"message", "type", "param", "code"}
        assert (told["error"]["type"], told["error"]["code"]) == ("server_error", "engine_unavailable")
        assert told["request_id"] == answer.headers["x-request-id"]

        refused = client.post(CHAT, json=SHORT)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert answers(client, "/healthz")
        until(lambda: answers(client), 300)
        assert gone(before)
        assert client.post(CHAT, json=SHORT).json()["choices"][0]["finish_reason"] == "length"

        after = run.children()
        assert len(after) >= 3, "vLLM has inner processes"
        with client.stream("POST", CHAT, json=LONG) as answer:
            lines = answer.iter_lines()
            next(lines)
            run.process.kill()
            with pytest.raises(httpx.TransportError):
                list(lines)
        until(lambda: gone(after), 30)
    log = (tmp_path / "home" / "logs" / "engine.log").read_text()
    assert "Starting vLLM server" in log
    assert "horror" not in log + run.errors


@contextmanager
def api(home: Path, port: int, engine_url: str, model: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An API in a process of its own, which answers."""
    command = [sys.executable, str(HERE / "api_process.py"), str(port), str(home), engine_url, str(model)]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    process = subprocess.Popen(command, env=environment)
    try:
        with client_of(f"http://127.0.0.1:{port}") as client:
            until(lambda: process.poll() is not None or answers(client), 120)
        assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_killed_api_leaves_no_generation_and_no_file_behind_and_serves_once_started_again(
    starter_engine: EngineProcess, tmp_path: Path
) -> None:
    port = free_port()
    with client_of(f"http://127.0.0.1:{port}") as client:
        with api(tmp_path, port, starter_engine.url, STARTER_PATH) as process:
            files = {path for path in tmp_path.rglob("*") if path.is_file()}
            with client.stream("POST", CHAT, json=LONG) as answer:
                lines = answer.iter_lines()
                next(lines)
                until(lambda: running(starter_engine.url) == 1, 10)
                process.kill()
                with pytest.raises(httpx.TransportError):
                    list(lines)
            until(lambda: running(starter_engine.url) == 0, 10)
            assert {path for path in tmp_path.rglob("*") if path.is_file()} == files
        with api(tmp_path, port, starter_engine.url, STARTER_PATH):
            assert client.post(CHAT, json=SHORT).json()["choices"][0]["finish_reason"] == "length"
