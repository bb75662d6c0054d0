"""`sotto up` over a fake engine and a bare API: ``python up_with_fakes.py FOLDER OPTIONS...``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import typer
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from assistant.cli import up
from assistant.engine import command
from assistant.rollout.opening import Opened

FOLDER = Path(sys.argv.pop(1))
FAKE_SERVER = Path(__file__).parents[1] / "engine" / "fake_server.py"


def serve_command(_folder: Path, port: int, **_: Any) -> list[str]:
    flags = ["fail"] if (FOLDER / "fail").exists() else []
    return [sys.executable, str(FAKE_SERVER), str(port), str(FOLDER), *flags]


class Assistant:
    async def warm(self, _model: str) -> None:
        """There is nothing to fill."""


def assemble(_settings: Any, _folder: Path, opened: Opened, _stopping: Any) -> tuple[FastAPI, Assistant]:
    app = FastAPI()
    # There is no reconciler that would find out.
    opened.own.up = True

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        if await opened.fleet.healthy():
            return JSONResponse({"status": "ready"})
        return JSONResponse({"error": {"message": "no engine"}}, 503, headers={"retry-after": "2"})

    return app, Assistant()


# Whoever runs the tests with nohup has it ignored, which children inherit.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
command.serve_command = serve_command
up._assemble = assemble
typer.run(up.command)
