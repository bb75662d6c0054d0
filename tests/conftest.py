"""What every test shares: one switch that keeps unit tests off the network and away from real models, and the skips.

`Guard` listens to Python's own audit events, so it sees each connection and each child process whatever library
makes them. Only tests marked ``engine`` may start vLLM; no test may leave this machine.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.postgres import Cluster, running

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

    from assistant.state.database import Database

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")

# Libraries that would fetch weights or report usage unless told not to; children inherit it.
os.environ |= {
    "DO_NOT_TRACK": "1",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
    "LANGSMITH_TRACING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "VLLM_NO_USAGE_STATS": "1",
}


class Guard:
    """Refuses connections to other machines always, and starting vLLM while ``engine_allowed`` is False."""

    engine_allowed = False
    own_names = frozenset({"", "localhost", socket.gethostname()})

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "socket.connect":
            address = arguments[1]
            if isinstance(address, tuple) and not self.is_local(str(address[0])):
                raise RuntimeError(f"a test tried to connect to {address[0]}; tests stay on this machine")
        elif event == "socket.getaddrinfo":
            name = arguments[0]
            text = name.decode() if isinstance(name, bytes) else str(name or "")
            if text not in self.own_names and not self.is_address(text):
                raise RuntimeError(f"a test tried to look up {text}; tests stay on this machine")
        elif event == "subprocess.Popen" and not self.engine_allowed:
            command = arguments[1] if isinstance(arguments[1], (list, tuple)) else [arguments[1]]
            if any("vllm.entrypoints" in os.fsdecode(part) for part in command):
                raise RuntimeError("this test starts a real vLLM: mark it `engine`, or put a fake in its place")

    @classmethod
    def is_local(cls, host: str) -> bool:
        """True for the loopback range and this machine's own names."""
        return ipaddress.ip_address(host).is_loopback if cls.is_address(host) else host in cls.own_names

    @staticmethod
    def is_address(text: str) -> bool:
        """True for an IP address written out, which no look-up leaves the machine for."""
        try:
            ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return False
        return True


GUARD = Guard()
sys.addaudithook(GUARD)


def chromium_path() -> str | None:
    """Chromium's program on this machine, or None."""
    return next((path for path in map(shutil.which, CHROMIUM_NAMES) if path), None)


def postgres_folder() -> Path | None:
    """The folder of ``initdb`` and ``postgres``, or None. Debian keeps them off the PATH."""
    if found := shutil.which("postgres"):
        return Path(found).parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


ABSENT = {
    "data": lambda: None if SHARED_DATA.is_dir() else "the public data sets are not in ../shared/data",
    "browser": lambda: None if chromium_path() else "Chromium is not installed (apt install chromium)",
    "postgres": lambda: None if postgres_folder() else "PostgreSQL is not installed (apt install postgresql)",
    "engine": lambda: (
        None if importlib.util.find_spec("vllm") else "vLLM is not installed (pip install sotto-rec[cpu])"
    ),
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts what takes longest first."""
    items.sort(key=lambda item: item.get_closest_marker("engine") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Where several processes share the tests, one takes those of tests/engine, so that they share a vLLM; the others
    are handed out by the file, so that a file's fixtures are made once.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "engine" if file.startswith("tests/engine/") else file

    return ByFile(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Lets a test marked ``engine``, and the fixtures it sets up, start vLLM."""
    GUARD.engine_allowed = item.get_closest_marker("engine") is not None
    try:
        return (yield)
    finally:
        GUARD.engine_allowed = False


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a marked test where the machine lacks what it needs, and says what."""
    for marker, absent in ABSENT.items():
        if item.get_closest_marker(marker) and (reason := absent()):
            pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def settings_at_default(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every ``SOTTO_*`` setting at its default, and a `SOTTO_HOME` of the tests' own for what outlives a test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("SOTTO_")]:
            patch.delenv(name)
        patch.setenv("SOTTO_HOME", str(tmp_path_factory.mktemp("sotto-home")))
        yield


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `SOTTO_HOME` of the test's own."""
    home = tmp_path / "sotto-home"
    monkeypatch.setenv("SOTTO_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def with_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Gives a home its MLflow with the tables made, which takes MLflow itself seconds; returns that home."""
    from federation.releases.registry import FOLDER, Registry

    made = tmp_path_factory.mktemp("mlflow")
    Registry(made).all()

    def begin(home: Path) -> Path:
        shutil.copytree(made / FOLDER, home / FOLDER)
        return home

    return begin


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the public data sets; skips where it is absent."""
    if reason := ABSENT["data"]():
        pytest.skip(reason)
    return SHARED_DATA


@pytest.fixture(scope="session")
def chromium() -> str:
    """Chromium's program; skips where it is absent."""
    path = chromium_path()
    if path is None:
        pytest.skip("Chromium is not installed (apt install chromium)")
    return path


@pytest.fixture(scope="session")
def postgres_bin() -> Path:
    """The folder of PostgreSQL's server programs; skips where it is absent."""
    folder = postgres_folder()
    if folder is None:
        pytest.skip("PostgreSQL is not installed (apt install postgresql)")
    return folder


@pytest.fixture(scope="session")
def postgres(postgres_bin: Path) -> Iterator[Cluster]:
    """A running PostgreSQL; skips where it is absent."""
    with running(postgres_bin) as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty state database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.sqlite'}"
    cluster: Cluster = request.getfixturevalue("postgres")
    return cluster.new_database()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A state database of each kind in turn, its tables up to date."""
    from assistant.settings import Settings
    from assistant.state.database import Database

    with Database.of(Settings(database_url=database_url)) as opened:
        yield opened
