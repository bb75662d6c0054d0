"""Real vLLMs for the whole test session: one of a tiny model, one of the starter that takes adapters."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
import pytest_asyncio

from assistant.engine.command import environment, serve_command
from assistant.engine.model import context_length
from assistant.engine.process import EngineProcess
from assistant.settings import STARTER_PATH
from tests.engine.models import make_model


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3 model."""
    return make_model(tmp_path_factory.mktemp("tiny") / "model")


@asynccontextmanager
async def serving(model: Path, home: Path, lora_rank: int | None = None) -> AsyncIterator[EngineProcess]:
    """A vLLM that serves ``model``."""
    if find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    port = free_port()
    # In float32, so that its numbers can be held against transformers' closely.
    command = [
        *serve_command(model, port, context=context_length(model), lora_rank=lora_rank),
        *("--dtype", "float32"),
    ]
    process = EngineProcess(command, port, home, variables=environment(lora_rank=lora_rank))
    await process.start()
    try:
        await process.wait_ready()
        yield process
    finally:
        await process.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EngineProcess]:
    """A running vLLM that serves the tiny model."""
    async with serving(tiny_model, tmp_path_factory.mktemp("home")) as process:
        yield process


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def starter_engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EngineProcess]:
    """A running vLLM that serves the starter model and takes adapters."""
    async with serving(STARTER_PATH, tmp_path_factory.mktemp("starter"), lora_rank=8) as process:
        yield process


@pytest.fixture(scope="session")
def engine_url(engine: EngineProcess) -> str:
    """Where the running vLLM answers."""
    return engine.url
