"""Rounds over Flower's SuperLink and SuperNodes: starts them with TLS and node keys, and hands a run over.

All programs are Flower's own, as anyone would start them by hand (docs/federation.md). Loopback by default: whoever
reaches the control port can start runs, so it has no business on another address.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from federation.rounds.carriers.keys import Certificate, NodeKey, certificate_in, make_node_key

APP = Path(__file__).parents[1] / "app"
"""The Flower App that `flwr run` takes."""

CONNECTION = "sotto"
"""What the SuperLink is called in Flower's configuration."""

HOST = "127.0.0.1"
READY_SECONDS = 60.0
STOP_SECONDS = 10.0
_POLL_SECONDS = 0.2


class DeploymentError(RuntimeError):
    """One of Flower's programs did not do what it should; the message holds the end of what it said."""


@dataclass(frozen=True)
class Ports:
    """Where a SuperLink listens: for the server's app, for SuperNodes, for commands."""

    server_app: int
    fleet: int
    control: int

    @classmethod
    def free(cls) -> Self:
        """Three that nothing listens at."""
        return cls(*free_ports(3))


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing listens at, all different."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


@dataclass
class SuperLink:
    """A SuperLink whose certificates, database and logs are in ``folder``; a context in which it runs.

    SuperNodes reach it at ``host``, by the names in its certificate, and must be registered: the registration outlives
    it. A run that was under way when it ended goes on once it is submitted again. DeploymentError where it does not
    start.
    """

    folder: Path
    ports: Ports = field(default_factory=Ports.free)
    host: str = HOST
    names: tuple[str, ...] = ("localhost", HOST)
    certificate: Certificate = field(init=False)
    _running: list[subprocess.Popen[bytes]] = field(init=False, default_factory=list)

    def __enter__(self) -> Self:
        self.folder = self.folder.absolute()
        self.certificate = certificate_in(self.folder / "certificates", self.names)
        home = self.folder / "flower"
        home.mkdir(parents=True, exist_ok=True)
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
            f'address = "{HOST}:{self.ports.control}"\n'
            f"root-certificates = {json.dumps(str(self.certificate.authority))}\n",
            encoding="utf-8",
        )
        try:
            process = self._start("superlink", self.command())
            self._await(process, "superlink", (self.ports.fleet, self.ports.control, self.ports.server_app))
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def command(self) -> list[str]:
        """What starts the SuperLink."""
        return [
            _program("flower-superlink"),
            *("--ssl-ca-certfile", str(self.certificate.authority)),
            *("--ssl-certfile", str(self.certificate.certificate)),
            *("--ssl-keyfile", str(self.certificate.key)),
            "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
            *("--database", str(self.folder / "superlink.sqlite")),
            *("--serverappio-api-address", f"{HOST}:{self.ports.server_app}"),
            *("--fleet-api-address", f"{self.host}:{self.ports.fleet}"),
            *("--control-api-address", f"{HOST}:{self.ports.control}"),
        ]

    def new_key(self, name: str) -> NodeKey:
        """A key pair for a node; it is of no use before `register`."""
        return make_node_key(self.folder / "nodes", name)

    def register(self, key: NodeKey) -> int:
        """Lets the node with this key in, and returns its number."""
        answer = self._flwr("supernode", "register", str(key.public), CONNECTION, "--format", "json")
        return int(answer["node-id"])

    def start_node(self, name: str, key: NodeKey, config: Mapping[str, str | int]) -> subprocess.Popen[bytes]:
        """Starts a SuperNode that is configured by ``config``; its log is in the folder."""
        (port,) = free_ports(1)
        path = key.private.with_suffix(".toml")
        path.write_text(_toml(config), encoding="utf-8")
        command = [
            _program("flower-supernode"),
            *("--root-certificates", str(self.certificate.authority)),
            *("--auth-supernode-private-key", str(key.private)),
            *("--superlink", f"{HOST}:{self.ports.fleet}"),
            *("--clientappio-api-address", f"{HOST}:{port}"),
            *("--node-config", str(path)),
        ]
        return self._start(name, command)

    def start_resident(self, name: str, socket: Path, trainer: str, options: Mapping[str, Any]) -> dict[str, str]:
        """Starts a process that keeps a trainer for a node; returns what configures the node to ask it."""
        command = [sys.executable, "-m", "federation.rounds.residence", "--socket", str(socket)]
        self._start(name, [*command, "--trainer", trainer, "--options", json.dumps(options)])
        return {"trainer": "resident", "trainer-options": json.dumps({"socket": str(socket)})}

    def submit(self, run: Path, trainer: str = "", options: Mapping[str, Any] | None = None) -> int:
        """Has the run kept in the folder ``run`` carried on, and returns Flower's number for it.

        ``trainer`` is for nodes that have none of their own.
        """
        config = self.folder / "run.toml"
        values = {"folder": str(run.absolute()), "trainer": trainer, "trainer-options": json.dumps(options or {})}
        config.write_text(_toml(values), encoding="utf-8")
        return int(self._flwr("run", str(APP), CONNECTION, "-c", str(config), "--format", "json")["run-id"])

    def status(self, run: int) -> str:
        """Of Flower's run ``run``: pending, starting, running, or finished with a colon and how."""
        answer = self._flwr("list", CONNECTION, "--run-id", str(run), "--format", "json")
        return str(answer["runs"][0]["status"])

    def log(self, name: str) -> str:
        """What the SuperLink, or the node ``name``, has said."""
        path = self._log(name)
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def stop(self) -> None:
        """Stops everything that was started here."""
        kill(self._running)
        self._running.clear()

    def _start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with self._log(name).open("ab") as log:
            # A session of its own: Flower's programs start others, and all of them go together.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
            )
        self._running.append(process)
        return process

    def _await(self, process: subprocess.Popen[bytes], name: str, ports: Iterable[int]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        for port in ports:
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise DeploymentError(f"The {name} did not start: {_end(self.log(name))}")
                time.sleep(_POLL_SECONDS)

    def _flwr(self, *words: str) -> Any:
        answer = subprocess.run(
            [_program("flwr"), *words], env=self._environment(), capture_output=True, text=True, check=False
        )
        try:
            found = json.loads(answer.stdout[answer.stdout.index("{") :])
        except ValueError:
            found = {}
        if answer.returncode or not found.get("success"):
            raise DeploymentError(f"`flwr {shlex.join(words)}` failed: {_end(answer.stdout + answer.stderr)}")
        return found

    def _environment(self) -> dict[str, str]:
        return environment(self.folder / "flower")

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


def _toml(values: Mapping[str, str | int]) -> str:
    """``values`` as TOML; JSON's strings and numbers are TOML's."""
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


def environment(home: Path) -> dict[str, str]:
    """What Flower's programs run in: their state in ``home``, nothing reported to anyone, their helpers found."""
    return {
        **os.environ,
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
        # Where this very code is, installed or not.
        "PYTHONPATH": os.pathsep.join(filter(None, (str(APP.parents[2]), os.environ.get("PYTHONPATH", "")))),
    }


def kill(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Ends ``processes`` and whatever they started: asked first, then killed."""
    waiting = list(processes)
    for process in waiting:
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for process in waiting:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _program(name: str) -> str:
    """Flower's program ``name`` of this very environment."""
    return str(Path(sys.executable).parent / name)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _end(text: str) -> str:
    return text.strip()[-2000:]
