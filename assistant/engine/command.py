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

from assistant.errors import SottoError

ENGINE_HOST = "127.0.0.1"
SERVED_NAME = "sotto"
MAX_CONTEXT = 4096
"""Tokens of prompt and reply together; a turn needs far fewer than large models allow, and memory grows with it."""

_LORA_MODULES = ("q_proj", "v_proj")


def serve_command(model: str, port: int, *, context: int = MAX_CONTEXT, lora_rank: int | None = None) -> list[str]:
    """The command that serves ``model`` (a folder or a Hugging Face name) as `SERVED_NAME` on loopback.

    ``context`` is in tokens, at most what the model allows: see `context_length`. ``lora_rank`` is the largest rank of
    adapters; None serves none, which is faster on CPUs.
    """
    structured = {"backend": "xgrammar", "disable_any_whitespace": True}
    command = [
        # -P: a file beside the user must not stand in for a library.
        *(sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server"),
        *("--host", ENGINE_HOST, "--port", str(port)),
        *("--model", model, "--served-model-name", SERVED_NAME),
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
    if lora_rank is not None:
        # Without named modules, vLLM 0.32 dies of prompt_logprobs under an adapter.
        command += ["--enable-lora", "--max-lora-rank", str(lora_rank), "--lora-target-modules", *_LORA_MODULES]
    return command


def environment(
    model: str, *, lora_rank: int | None = None, base: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """``base`` with telemetry off, logs that quote no requests, and no network for a model that is a folder."""
    variables = {
        **base,
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # At DEBUG vLLM writes whole requests to its log.
        "VLLM_LOGGING_LEVEL": "INFO",
        "VLLM_DEBUG_LOG_API_SERVER_RESPONSE": "False",
        "VLLM_LOGGING_COLOR": "0",
        # vLLM's inner sockets bind to the address of this name.
        "VLLM_HOST_IP": ENGINE_HOST,
        "PYTHONUNBUFFERED": "1",
    }
    variables.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    if Path(model).is_dir():
        variables["HF_HUB_OFFLINE"] = "1"
    if lora_rank is not None:
        variables["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    return variables


def context_length(model: str, most: int = MAX_CONTEXT) -> int:
    """Tokens to serve ``model`` with: ``most``, or all it allows where that is less.

    Fetches the configuration of a Hugging Face name. SottoError where there is no such model.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False).get_text_config()
    except (OSError, ValueError) as error:
        raise SottoError(
            f"The model {model} could not be found or read: {str(error).partition(chr(10))[0]} "
            "Give a folder with config.json, or the name of a model on Hugging Face, as --model or SOTTO_MODEL."
        ) from error
    return min(most, getattr(config, "max_position_embeddings", None) or most)


def _runs_on_cpu() -> bool:
    try:
        distribution("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True
