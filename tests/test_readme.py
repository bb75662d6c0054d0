"""The README's examples work as they stand, against everything real and the bundled model."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from assistant.settings import STARTER_PATH
from benchmarks.transcript import MESSAGES, converse
from retrieval.bundled import bundled_items
from tests.cli.test_up import Run, gone, started

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"<!-- example: (\w+) -->\n```\w+\n(.*?)```", re.DOTALL)
EXAMPLES = dict(EXAMPLE.findall(README))
SOTTO_UP = ("-m", "assistant", "up")


@pytest.fixture(scope="module")
def sotto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    with started(tmp_path_factory.mktemp("readme") / "home", STARTER_PATH, *SOTTO_UP) as run:
        run.wait_ready()
        yield run
        children = run.children()
        assert run.stop(signal.SIGTERM) == 0
        assert gone(children)
        assert "Traceback" not in run.errors


def here(text: str, sotto: Run) -> str:
    """The example's text with this run's port and interpreter."""
    return text.replace("http://127.0.0.1:8000", sotto.url).replace(".venv/bin/sotto", f"{sys.executable} -m assistant")


@pytest.mark.engine
def test_the_curl_example_answers(sotto: Run) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(["bash", "-c", here(EXAMPLES["curl"], sotto)], capture_output=True, text=True, check=True)
    assert '"recommendations"' in done.stdout
    assert '"chat.completion"' in done.stdout


@pytest.mark.engine
def test_the_python_example_prints_a_reply_and_items(sotto: Run) -> None:
    done = subprocess.run(
        [sys.executable, "-c", here(EXAMPLES["python"], sotto)], capture_output=True, text=True, check=True
    )
    assert len(done.stdout.splitlines()) >= 1
    assert done.stdout.strip()


@pytest.mark.engine
def test_the_terminal_example_answers(sotto: Run) -> None:
    command = here(EXAMPLES["terminal"], sotto).strip().replace('chat "', f'chat --url {sotto.url} "')
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip()


@pytest.mark.engine
def test_a_conversation_of_ten_turns_names_only_films_of_the_catalogue(sotto: Run) -> None:
    turns = converse(sotto.url)
    assert len(turns) == len(MESSAGES) == 10
    labels = {item.label for item in bundled_items()}
    for _, reply, shown in turns:
        assert reply.strip()
        assert set(shown) <= labels
        assert "[" not in reply
        assert "<|" not in reply


@pytest.mark.engine
def test_a_reader_that_leaves_frees_the_engine(sotto: Run) -> None:
    body = {"model": "sotto", "messages": [{"role": "user", "content": "a funny western"}], "stream": True}
    with httpx.Client(base_url=sotto.url, timeout=60, trust_env=False) as client:
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            next(answer.iter_lines())
        deadline = time.monotonic() + 30
        while _running(sotto) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert _running(sotto) == 0


def _running(sotto: Run) -> float:
    metrics = httpx.get(f"http://127.0.0.1:{sotto.engine_port}/metrics", trust_env=False).text
    return sum(
        float(value) for value in re.findall(r"^vllm:num_requests_running\{[^}]*\} (\S+)", metrics, re.MULTILINE)
    )


def test_the_first_command_stands_within_25_lines() -> None:
    assert "make run" in "\n".join(README.splitlines()[:25])


def test_the_transcript_is_of_the_ten_messages_and_names_real_films() -> None:
    said = re.findall(r"^> \*\*You:\*\* (.*)$", README, re.MULTILINE)
    assert tuple(said) == MESSAGES
    shown = [label for line in re.findall(r"^> \*\[(.*)\]\*$", README, re.MULTILINE) for label in line.split(" · ")]
    assert shown
    assert set(shown) <= {item.label for item in bundled_items()}
