"""docs/api.md: every route is there, and each curl command works as it stands."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from tests.api.fakes import ScriptedAssistant, app_with, served

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT = DOCS.joinpath("api.md").read_text()
ADMIN = DOCS.joinpath("rollout.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL) for line in re.split(r"\n(?=curl)", block)
]


def test_every_route_is_documented():
    routes = [route for route in app_with(ScriptedAssistant()).routes if isinstance(route, APIRoute)]
    assert [route.path for route in routes if f"{route.path}`" not in DOCUMENT + ADMIN] == []


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_curl_command_works(command):
    with served(app_with(ScriptedAssistant())) as url:
        command = command.replace("http://127.0.0.1:8000", url).replace("curl ", "curl --fail --noproxy '*' ", 1)
        result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout
