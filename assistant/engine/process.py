"""Starts vLLM, watches it, starts it again when it falls, and takes every one of its processes down at the end.

Knows nothing of prompts. What vLLM writes goes to ``engine.log``, which never holds a word of a conversation.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.engine import guard
from assistant.engine.command import ENGINE_HOST
from assistant.engine.gateway import VllmEngine
from assistant.errors import EngineError, EngineTimeout, SottoError

__all__ = ["EngineProcess", "Pace", "claim_port"]

Progress = Callable[[str], None]
"""Told what the engine is doing, in words for people."""

LOG_PATH = Path("logs") / "engine.log"
"""Where the log is within the folder of all state."""

_OLD_LOGS = 3
_LOG_TAIL = 50_000
_STAGES = (
    ("Starting to load model", "loading the model"),
    ("Loading weights took", "preparing memory"),
    ("Warming up", "warming up"),
    ("Starting vLLM server", "opening its port"),
)
_FAULT = re.compile(r"^(?:\(\S+ pid=\d+\) )?(?:ERROR \S+ \S+ \[\S+\] )?([\w.]*(?:Error|Exception): .+)$", re.MULTILINE)
_CONSEQUENCES = (
    "RuntimeError: Engine core initialization failed",
    "Exception: WorkerProc initialization failed",
)


@dataclass(frozen=True)
class Pace:
    """How patient the watch is; all in seconds but ``strikes``, the unanswered checks in a row that mean it hangs."""

    start: float = 1800.0
    check: float = 2.0
    strikes: int = 3
    first_delay: float = 1.0
    last_delay: float = 30.0
    settled: float = 60.0
    stop: float = 10.0


def claim_port(host: str, port: int, setting: str, option: str) -> socket.socket:
    """A socket that listens on ``port``, so that nobody else can; the caller closes it.

    SottoError naming the port, its ``setting`` and ``option`` and what to do when it cannot be had.
    """
    mend = f"choose another port with {setting} or {option}."
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except socket.gaierror as error:
        raise SottoError(f"{host} is not an address of this machine ({error.strerror}).") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SottoError(
                f"Port {port} on {host} is taken by another program. Stop that program, or {mend}"
            ) from error
        raise SottoError(f"Port {port} on {host} cannot be used ({error.strerror}). You may {mend}") from error


class EngineProcess:
    """One vLLM server and all its processes. Use: `start`, `wait_ready`, `watch` in a task, `stop`."""

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        home: Path,
        *,
        variables: Mapping[str, str] | None = None,
        progress: Progress = lambda _: None,
        pace: Pace | None = None,
    ) -> None:
        """``command`` serves on ``port`` of loopback; see `assistant.engine.command`. The log goes into ``home``."""
        self.log_path = home.expanduser() / LOG_PATH
        self.url = f"http://{ENGINE_HOST}:{port}"
        self._command, self._port, self._variables = list(command), port, variables
        self._progress, self._pace = progress, pace or Pace()
        self._health = VllmEngine(self.url)
        self._process: asyncio.subprocess.Process | None = None
        self._ended: asyncio.Task[int] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The process, which leads the group of all of the engine's; None while there is none."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Begins to start the engine, with a new log. SottoError when its port is taken."""
        claim_port(ENGINE_HOST, self._port, "SOTTO_ENGINE_PORT", "--engine-port").close()
        _rotate(self.log_path)
        await self._spawn()

    async def wait_ready(self) -> None:
        """Returns once the engine answers.

        EngineError with the reason when it ends before, EngineTimeout when that takes longer than the pace allows.
        """
        told = ""
        deadline = time.monotonic() + self._pace.start
        while not await self._health.healthy():
            if await self._ends_within(min(self._pace.check, 0.5)):
                hint = "`sotto doctor` checks what it needs of this machine."
                raise EngineError(f"The engine ended while it was starting. {self._reason()} {hint}")
            if time.monotonic() > deadline:
                raise EngineTimeout(f"The engine was not ready after {self._pace.start:.0f} s. {self._reason()}")
            stage = next((words for mark, words in reversed(_STAGES) if mark in self._log()), "")
            if stage and stage != told:
                told = stage
                self._progress(stage)

    async def watch(self) -> None:
        """Starts the engine again whenever it ends or hangs, each time after a longer wait. Runs until cancelled."""
        delay = self._pace.first_delay
        while True:
            since = time.monotonic()
            why = await self._fallen()
            if time.monotonic() - since >= self._pace.settled:
                delay = self._pace.first_delay
            await self._kill()
            self._progress(f"{why}; starting again in {delay:g} s")
            await asyncio.sleep(delay)
            delay = min(2 * delay, self._pace.last_delay)
            await self._spawn()
            try:
                await self.wait_ready()
            except EngineError as error:
                self._progress(str(error))
            else:
                self._progress("ready again")

    async def stop(self) -> None:
        """Ends every process of the engine, kindly at first; safe to call at any time and more than once."""
        if self._process is not None:
            _release(self._process)
            try:
                await self._ends_within(self._pace.stop)
            finally:
                await self._kill()
        await self._health.aclose()

    async def _spawn(self) -> None:
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", guard.__file__, str(self._pace.stop), *self._command),
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._variables,
                # Its own session: Ctrl-C in the terminal reaches the supervisor only.
                start_new_session=True,
            )
        self._ended = asyncio.create_task(self._process.wait())

    async def _fallen(self) -> str:
        """Returns, with the reason, once the engine has ended or has not answered `Pace.strikes` times in a row."""
        missed = 0
        while missed < self._pace.strikes:
            if await self._ends_within(self._pace.check):
                return "the engine ended"
            missed = 0 if await self._health.healthy() else missed + 1
        return "the engine stopped answering"

    async def _ends_within(self, seconds: float) -> bool:
        if self._ended is None:
            raise RuntimeError("the engine has not been started")
        done, _ = await asyncio.wait({self._ended}, timeout=seconds)
        return bool(done)

    async def _kill(self) -> None:
        """Ends whatever is left of the group at once."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        _release(process)
        await process.wait()

    def _reason(self) -> str:
        """The last fault that the log names, and where the log is."""
        faults = [fault for fault in _FAULT.findall(self._log()) if not fault.startswith(_CONSEQUENCES)]
        return "".join([*(f"{fault.rstrip('.')}. " for fault in faults[-1:]), f"Its log is {self.log_path}."])

    def _log(self) -> str:
        """The end of what the present process has written."""
        with self.log_path.open("rb") as log:
            log.seek(max(self._log_start, log.seek(0, os.SEEK_END) - _LOG_TAIL))
            return log.read().decode(errors="replace")


def _release(process: asyncio.subprocess.Process) -> None:
    """Closes the pipe that the guard waits on."""
    if process.stdin is not None:
        process.stdin.close()


def _rotate(log_path: Path) -> None:
    """Makes room for a new log; the last few are kept as ``engine.log.1`` and so on."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    for age in range(_OLD_LOGS, 0, -1):
        older = log_path.with_name(f"{log_path.name}.{age}")
        newer = log_path.with_name(f"{log_path.name}.{age - 1}") if age > 1 else log_path
        if newer.exists():
            newer.replace(older)
    log_path.touch(mode=0o600)
