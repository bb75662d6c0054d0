"""The supervisor: what it starts, restarts and leaves behind (nothing)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from assistant.engine.gateway import VllmEngine
from assistant.engine.process import EngineProcess, Pace, claim_port
from assistant.errors import EngineError, EngineTimeout, SottoError
from tests.engine.conftest import free_port

HERE = Path(__file__).parent
QUICK = Pace(start=20, check=0.1, first_delay=0.05, last_delay=0.2, stop=5)


class Stage:
    """A fake engine's process, what it said, and the ids of its processes."""

    def __init__(self, folder: Path, *flags: str, pace: Pace = QUICK) -> None:
        self.folder, self.port, self.said = folder, free_port(), list[str]()
        command = [sys.executable, str(HERE / "fake_server.py"), str(self.port), str(folder), *flags]
        self.process = EngineProcess(command, self.port, folder, progress=self.said.append, pace=pace)

    @property
    def pids(self) -> list[int]:
        return [int(pid) for pid in (self.folder / "pids").read_text().split()]


@asynccontextmanager
async def ready(folder: Path, pace: Pace = QUICK) -> AsyncIterator[Stage]:
    stage = Stage(folder, pace=pace)
    await stage.process.start()
    try:
        await stage.process.wait_ready()
        yield stage
    finally:
        await stage.process.stop()


@asynccontextmanager
async def watched(stage: Stage) -> AsyncIterator[None]:
    task = asyncio.create_task(stage.process.watch())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # other processes have no event to wait for
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def none_alive(pids: list[int]) -> Callable[[], bool]:
    return lambda: not any(alive(pid) for pid in pids)


async def test_stop_ends_every_process(tmp_path: Path) -> None:
    async with ready(tmp_path) as stage:
        pids = stage.pids
        assert all(alive(pid) for pid in pids)
        assert stage.said == ["loading the model"]
    await until(none_alive(pids))
    await stage.process.stop()


async def test_a_killed_engine_is_started_again_and_its_remains_are_removed(tmp_path: Path) -> None:
    async with ready(tmp_path) as stage, watched(stage):
        before = stage.pids
        os.kill(before[0], signal.SIGKILL)
        await until(lambda: "ready again" in stage.said)
        assert none_alive(before)()
        assert all(alive(pid) for pid in stage.pids)
        assert "the engine ended; starting again in 0.05 s" in stage.said


async def test_an_engine_that_hangs_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ready(tmp_path) as stage:

        async def unanswered(self: VllmEngine) -> bool:
            return not (tmp_path / "hang").exists()

        monkeypatch.setattr(VllmEngine, "healthy", unanswered)
        async with watched(stage):
            before = stage.pids
            (tmp_path / "hang").touch()
            await until(none_alive(before))
            (tmp_path / "hang").unlink()
            await until(lambda: "ready again" in stage.said)
        assert "the engine stopped answering; starting again in 0.05 s" in stage.said


async def test_waits_grow_while_the_engine_keeps_falling(tmp_path: Path) -> None:
    async with ready(tmp_path) as stage, watched(stage):
        for times in range(1, 5):
            await until(lambda times=times: stage.said.count("ready again") == times - 1)
            os.kill(stage.pids[0], signal.SIGKILL)
            await until(lambda times=times: sum("again in" in said for said in stage.said) == times)
        waits = [said.split()[-2] for said in stage.said if "again in" in said]
        assert waits == ["0.05", "0.1", "0.2", "0.2"]


async def test_waits_begin_anew_after_a_healthy_time(tmp_path: Path) -> None:
    async with ready(tmp_path, Pace(start=20, check=0.1, first_delay=0.05, settled=0, stop=5)) as stage, watched(stage):
        for times in (1, 2):
            os.kill(stage.pids[0], signal.SIGKILL)
            await until(lambda times=times: stage.said.count("ready again") == times)
        assert [said.split()[-2] for said in stage.said if "again in" in said] == ["0.05", "0.05"]


async def test_an_engine_that_cannot_start_says_why(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "fail")
    await stage.process.start()
    with pytest.raises(EngineError, match=r"ValueError: the model has no weights.*engine\.log"):
        await stage.process.wait_ready()
    await stage.process.stop()


async def test_an_engine_that_never_answers_times_out(tmp_path: Path) -> None:
    (tmp_path / "hang").touch()
    stage = Stage(tmp_path, pace=Pace(start=0.2, check=0.1, stop=1))
    await stage.process.start()
    await until((tmp_path / "pids").exists)
    with pytest.raises(EngineTimeout, match="not ready after"):
        await stage.process.wait_ready()
    (tmp_path / "hang").unlink()
    await stage.process.stop()
    await until(none_alive(stage.pids))


async def test_logs_are_kept_from_start_to_start(tmp_path: Path) -> None:
    for run in range(5):
        stage = Stage(tmp_path, "fail", str(run))
        await stage.process.start()
        with pytest.raises(EngineError):
            await stage.process.wait_ready()
        await stage.process.stop()
    names = {path.name for path in (tmp_path / "logs").iterdir()}
    assert names == {"engine.log", "engine.log.1", "engine.log.2", "engine.log.3"}
    assert (tmp_path / "logs" / "engine.log").stat().st_mode & 0o777 == 0o600


async def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    with socket.create_server(("127.0.0.1", stage.port)):
        with pytest.raises(SottoError, match=f"Port {stage.port} .* SOTTO_ENGINE_PORT or --engine-port"):
            await stage.process.start()
        assert not (tmp_path / "pids").exists()


def test_an_address_that_is_not_this_machines_is_refused() -> None:
    with pytest.raises(SottoError, match="cannot be used"):
        claim_port("192.0.2.77", 0, "SOTTO_PORT", "--port")


def test_a_name_that_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(SottoError, match="nowhere is not an address"):
        claim_port("nowhere", 0, "SOTTO_PORT", "--port")


@asynccontextmanager
async def supervisor(home: Path, port: int, command: list[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A supervisor in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(HERE / "supervisor.py"), str(port), str(home), *command),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def said(process: asyncio.subprocess.Process, line: str) -> None:
    assert process.stdout is not None
    async for got in process.stdout:
        if got.decode().strip() == line:
            return
    pytest.fail(f"the supervisor ended without saying {line!r}")


async def test_no_process_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, str(HERE / "fake_server.py"), str(port), str(tmp_path)]
    async with supervisor(tmp_path, port, command) as process:
        await said(process, "ready")
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        process.kill()
        await until(none_alive(pids))
