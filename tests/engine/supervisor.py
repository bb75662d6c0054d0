"""A supervisor to be killed: ``python supervisor.py PORT HOME COMMAND...`` starts, watches and says when ready."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from assistant.engine.command import environment
from assistant.engine.process import EngineProcess


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(port: int, home: Path, command: list[str]) -> None:
    process = EngineProcess(command, port, home, variables=environment(), progress=say)
    await process.start()
    await process.wait_ready()
    say("ready")
    await process.watch()


asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
