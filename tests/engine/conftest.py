"""One real vLLM for the whole test session."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import pytest_asyncio

from assistant.engine.command import environment, serve_command
from assistant.engine.model import context_length
from assistant.engine.process import EngineProcess
from tests.engine.models import make_model


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3 model."""
    return make_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EngineProcess]:
    """A running vLLM that serves the tiny model."""
    if find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    port = free_port()
    # In float32, so that its numbers can be held against transformers' closely.
    command = [*serve_command(tiny_model, port, context=context_length(tiny_model)), "--dtype", "float32"]
    process = EngineProcess(command, port, tmp_path_factory.mktemp("home"), variables=environment())
    await process.start()
    try:
        await process.wait_ready()
        yield process
    finally:
        await process.stop()


@pytest.fixture(scope="session")
def engine_url(engine: EngineProcess) -> str:
    """Where the running vLLM answers."""
    return engine.url
