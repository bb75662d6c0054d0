"""OpenAI's npm client works by base URL alone.

It is installed once, at the version of tests/api/node/package-lock.json, into the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from assistant.dialogue.types import Event, Text, TurnRequest
from assistant.errors import EngineUnavailable
from tests.api.fakes import PLAN, REPLY, SCRIPT, ScriptedAssistant, app_with, served

NODE = Path(__file__).parent / "node"
PINNED = ("package.json", "package-lock.json", ".npmrc")


class SeededAssistant(ScriptedAssistant):
    """What it plays goes by the request's seed: 1 never ends, 503 and 504 fail before and in the reply."""

    async def stream(self, request: TurnRequest) -> AsyncGenerator[Event]:
        gone = EngineUnavailable("The engine is starting.")
        scripts = {1: [PLAN, Text("Two"), 60.0], 503: [gone], 504: [PLAN, Text("Two"), gone]}
        self.script = scripts.get(request.seed or 0, SCRIPT)
        async for event in super().stream(request):
            yield event


@pytest.fixture(scope="module")
def installed() -> Path:
    """A folder whose ``node_modules`` hold the pinned client; skips where it cannot be had."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js is not installed (apt install nodejs npm)")
    digest = hashlib.sha256(b"".join((NODE / name).read_bytes() for name in PINNED)).hexdigest()[:16]
    folder = platformdirs.user_cache_path("sotto-tests") / f"node-{digest}"
    if not folder.is_dir():
        _install(folder)
    return folder


def _install(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        built = Path(place) / "client"
        built.mkdir()
        for name in PINNED:
            shutil.copy(NODE / name, built)
        try:
            done = subprocess.run(
                ["npm", "ci", "--ignore-scripts"], cwd=built, capture_output=True, text=True, timeout=200, check=False
            )
        except subprocess.TimeoutExpired:
            pytest.skip("npm did not install the client in time: is a registry within reach?")
        if done.returncode:
            reason = done.stderr.strip().splitlines()[:1]
            pytest.skip(f"npm could not install the client: is a registry within reach? {reason}")
        built.rename(folder)


@pytest.fixture(scope="module")
def talk(installed: Path) -> tuple[dict[str, Any], SeededAssistant]:
    """What the script saw, and the dialogue it talked to."""
    assistant = SeededAssistant()
    with served(app_with(assistant)) as url:
        done = subprocess.run(
            ["node", "--input-type=module", "-"],
            cwd=installed,
            input=(NODE / "client.mjs").read_text(encoding="utf-8"),
            env={**os.environ, "SOTTO_URL": f"{url}/v1"},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        deadline = time.monotonic() + 10
        while assistant.closed < len(assistant.requests) and time.monotonic() < deadline:
            time.sleep(0.02)
    return json.loads(done.stdout), assistant


def test_the_lock_names_no_host() -> None:
    assert "://" not in (NODE / "package-lock.json").read_text(encoding="utf-8")


def test_a_whole_reply(talk: tuple[dict[str, Any], SeededAssistant]) -> None:
    whole = talk[0]["whole"]
    assert (whole["content"], whole["finish"], whole["calls"]) == ("".join(REPLY), "stop", None)
    assert whole["titles"] == ["Alien", "Solaris"]
    assert whole["tokens"] == 134
    assert whole["requestId"].startswith("req-")
    turn = talk[1].requests[0]
    assert (turn.seed, turn.temperature, turn.stop, turn.max_tokens) == (7, 0.2, ("END",), 50)


def test_a_streamed_reply_with_usage(talk: tuple[dict[str, Any], SeededAssistant]) -> None:
    assert talk[0]["stream"] == {"content": "".join(REPLY), "recommended": 1, "tokens": 134}


def test_the_tool_call_whole_streamed_and_in_a_loop(talk: tuple[dict[str, Any], SeededAssistant]) -> None:
    seen = talk[0]
    assert (seen["call"]["finish"], seen["call"]["name"]) == ("tool_calls", "recommend_items")
    for given in (seen["call"]["arguments"], seen["streamedCall"]):
        assert [item["id"] for item in given["recommendations"]] == ["alien-1979", "solaris-1972"]
    assert seen["loop"] == {"content": "".join(REPLY), "taken": 1}


def test_errors_are_the_clients_own(talk: tuple[dict[str, Any], SeededAssistant]) -> None:
    seen = talk[0]
    assert seen["refused"] == {"kind": "BadRequestError", "status": 400, "code": "invalid_request", "param": "n"}
    assert (seen["unknown"]["kind"], seen["unknown"]["code"]) == ("NotFoundError", "model_not_found")
    assert (seen["unavailable"]["kind"], seen["unavailable"]["status"]) == ("InternalServerError", 503)
    assert (seen["inStream"]["kind"], seen["inStream"]["code"]) == ("APIError", "engine_unavailable")


def test_breaking_off_a_stream_ends_the_generation(talk: tuple[dict[str, Any], SeededAssistant]) -> None:
    seen, assistant = talk
    assert seen["models"] == ["sotto"]
    assert assistant.closed == len(assistant.requests)
