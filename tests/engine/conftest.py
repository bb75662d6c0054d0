"""One real vLLM for the whole test session."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from importlib.util import find_spec

import pytest
import pytest_asyncio

from assistant.engine.command import environment, serve_command
from assistant.engine.model import context_length
from assistant.engine.process import EngineProcess
from assistant.settings import STARTER_PATH


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def starter_engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EngineProcess]:
    """A running vLLM that serves the starter model and takes adapters."""
    if find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    port = free_port()
    # In float32, so that its numbers can be held against transformers' closely.
    command = [
        *serve_command(STARTER_PATH, port, context=context_length(STARTER_PATH), lora_rank=8),
        *("--dtype", "float32"),
    ]
    process = EngineProcess(command, port, tmp_path_factory.mktemp("starter"), variables=environment(lora_rank=8))
    await process.start()
    try:
        await process.wait_ready()
        yield process
    finally:
        await process.stop()
