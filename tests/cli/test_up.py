"""`sotto up`: ports, order of events, and that nothing is left behind; once with everything real."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import typer
from typer.testing import CliRunner

from assistant.access.keys import KeyStore
from assistant.cli import up
from assistant.settings import Settings
from assistant.state.database import Database
from tests.engine.conftest import free_port

APP = typer.Typer()
APP.command()(up.command)
ROOT = Path(__file__).parents[2]
FAKED = ROOT / "tests" / "cli" / "up_with_fakes.py"


class Run:
    """A started `sotto up`, what it prints, and where its API is to answer."""

    def __init__(self, process: subprocess.Popen[str], port: int, engine_port: int, errors: Path) -> None:
        self.process, self.port, self.engine_port, self._errors = process, port, engine_port, errors
        self.url = f"http://127.0.0.1:{port}"

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"Sotto is ready at {self.url}\n", self.errors

    def wait_said(self, text: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.errors:
            assert time.monotonic() < deadline, self.errors
            assert self.process.poll() is None, self.errors
            time.sleep(0.05)

    def stop(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(30)


@contextmanager
def started(home: Path, model: Path, *program: str) -> Iterator[Run]:
    home.mkdir(exist_ok=True)
    errors = home / "stderr"
    port, engine_port = free_port(), free_port()
    options = ["--port", str(port), "--engine-port", str(engine_port), "--home", str(home), "--model", str(model)]
    with errors.open("w") as err:
        process = subprocess.Popen(
            [sys.executable, *program, *options],
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    try:
        yield Run(process, port, engine_port, errors)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def bare_model(tmp_path: Path) -> Path:
    """A folder that has what a model needs to be found."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()
    return folder


def gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=15)[1]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_runs_until_told_to_stop_and_leaves_nothing(tmp_path: Path, bare_model: Path, how: signal.Signals) -> None:
    with started(tmp_path, bare_model, str(FAKED), str(tmp_path)) as run:
        run.wait_ready()
        assert httpx.get(f"{run.url}/readyz").is_success
        children = run.children()
        assert len(children) == 3
        assert run.stop(how) == 0
        assert gone(children)
        assert "Engine: ready (" in run.errors
        assert "Traceback" not in run.errors


def test_the_api_says_unavailable_while_the_engine_loads(tmp_path: Path, bare_model: Path) -> None:
    (tmp_path / "hang").touch()
    with started(tmp_path, bare_model, str(FAKED), str(tmp_path)) as run:
        run.wait_said("Engine: loading the model")
        answer = httpx.get(f"{run.url}/readyz", timeout=30)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        (tmp_path / "hang").unlink()
        run.wait_ready()
        assert httpx.get(f"{run.url}/readyz").is_success
        assert run.stop(signal.SIGTERM) == 0


def test_a_killed_engine_comes_back(tmp_path: Path, bare_model: Path) -> None:
    with started(tmp_path, bare_model, str(FAKED), str(tmp_path)) as run:
        run.wait_ready()
        before = run.children()
        os.kill(int((tmp_path / "pids").read_text().split()[0]), signal.SIGKILL)
        run.wait_said("Engine: ready again")
        assert gone(before)
        assert run.stop(signal.SIGTERM) == 0


def test_stopping_while_the_engine_loads_leaves_nothing(tmp_path: Path, bare_model: Path) -> None:
    (tmp_path / "hang").touch()
    with started(tmp_path, bare_model, str(FAKED), str(tmp_path)) as run:
        run.wait_said("Engine: loading the model")
        children = run.children()
        assert run.stop(signal.SIGINT) == 0
        assert gone(children)
        assert "Traceback" not in run.errors


def test_an_engine_that_cannot_start_ends_it_with_the_reason(tmp_path: Path, bare_model: Path) -> None:
    (tmp_path / "fail").touch()
    with started(tmp_path, bare_model, str(FAKED), str(tmp_path)) as run:
        assert run.process.wait(30) == 1
        assert "while it was starting. ValueError: the model has no weights. Its log" in run.errors
        assert "engine.log" in run.errors
        assert "Traceback" not in run.errors


@pytest.mark.parametrize(("taken", "setting"), [("port", "SOTTO_PORT"), ("engine-port", "SOTTO_ENGINE_PORT")])
def test_a_taken_port_is_named_with_its_setting(tmp_path: Path, taken: str, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = str(server.getsockname()[1])
        other = "port" if taken == "engine-port" else "engine-port"
        result = CliRunner().invoke(
            APP, [f"--{taken}", number, f"--{other}", str(free_port()), "--home", str(tmp_path)]
        )
    assert result.exit_code == 1
    assert f"Port {number} on 127.0.0.1 is taken" in result.stderr
    assert f"{setting} or --{taken}" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "70000"], "--port (SOTTO_PORT) cannot be 70000"),
        (["--port", "9000", "--engine-port", "9000"], "cannot share port 9000"),
        (["--model", "/no/such/model", "--port", "0"], "--port (SOTTO_PORT) cannot be 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: list[str], message: str) -> None:
    result = CliRunner().invoke(APP, options)
    assert result.exit_code == 1
    assert message in result.stderr


def test_a_missing_model_is_refused_before_anything_starts(tmp_path: Path) -> None:
    ports = ["--port", str(free_port()), "--engine-port", str(free_port())]
    result = CliRunner().invoke(APP, [*ports, "--home", str(tmp_path), "--model", "/no/such/model"])
    assert result.exit_code == 1
    assert "There is no model /no/such/model" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_other_machines_are_not_let_in_without_a_key(tmp_path: Path) -> None:
    ports = ["--port", str(free_port()), "--engine-port", str(free_port())]
    options = [*ports, "--host", "0.0.0.0", "--home", str(tmp_path), "--model", "/no/such/model"]
    refused = CliRunner().invoke(APP, options)
    assert refused.exit_code == 1
    assert "sotto keys create NAME" in refused.stderr
    with Database.of(Settings(home=tmp_path)) as database:
        KeyStore(database).create("ada")
    # Its next complaint is about the model: the door may stand open now.
    assert "There is no model /no/such/model" in CliRunner().invoke(APP, options).stderr


@pytest.mark.parametrize(
    ("variables", "opens"),
    [
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True),
        ({}, False),
        ({"DISPLAY": ":0", "CI": "true"}, False),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "somewhere"}, False),
    ],
)
def test_a_browser_opens_on_a_desktop_only(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], opens: bool
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "CI", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert up._on_desktop() is opens
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert not up._on_desktop()


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "http://127.0.0.1:80"), ("0.0.0.0", "http://127.0.0.1:80"), ("::", "http://[::1]:80")],
)
def test_the_address_is_one_that_this_machine_reaches(host: str, address: str) -> None:
    assert up._address(up._settings({"host": host, "port": 80})) == address
