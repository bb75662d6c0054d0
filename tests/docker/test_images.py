"""The images: they install what `make run` installs, start `sotto up`, and open nothing more."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from typer.main import get_command

from assistant.cli.main import app
from assistant.settings import Settings
from tests.docker.dockerfile import Stage, read
from tools import bootstrap, lock

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
IMAGES = {"cpu": read(DOCKER / "cpu.Dockerfile"), "gpu": read(DOCKER / "gpu.Dockerfile")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
LOCKS = {name: lock.pins((ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8")) for name in IMAGES}
EXTRAS = {"cpu": lock.RUNTIME_EXTRAS, "gpu": lock.GPU_EXTRAS}

each_image = pytest.mark.parametrize("kind", IMAGES)
each_service = pytest.mark.parametrize("service", COMPOSE["services"].values(), ids=COMPOSE["services"])


def build_stage(kind: str) -> Stage:
    return IMAGES[kind][0]


def final_stage(kind: str) -> Stage:
    return IMAGES[kind][-1]


def context(root: Path) -> set[str]:
    """Every file below ``root`` that a build sees, as Docker's own library reads .dockerignore."""
    build = pytest.importorskip("docker.utils.build", reason="Docker's Python library is not installed")
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    return {path for path in build.exclude_paths(str(root), patterns) if (root / path).is_file()}


class TestInstallation:
    def test_the_cpu_image_sets_up_as_make_does(self):
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        set_up = re.search(r'^setup:.*\n.*"\$\(PYTHON\)" (\S+)$', makefile, re.MULTILINE)
        assert set_up
        assert build_stage("cpu").last("RUN").endswith(f" python {set_up[1]} --no-project")
        assert final_stage("cpu").last("RUN") == f"SOTTO_VENV=/opt/venv python {set_up[1]}"
        assert build_stage("cpu").environment["SOTTO_VENV"] == "/opt/venv"

    def test_the_cpu_image_has_what_set_up_reads(self):
        locks = {f"requirements/{step.name}.lock" for step in bootstrap.steps(ROOT, dev=False, project=False)[1:]}
        assert {"tools/bootstrap.py", *locks} == set(build_stage("cpu").files)

    def test_the_gpu_image_gives_pip_the_same_options_as_set_up(self, monkeypatch):
        given = []
        monkeypatch.setattr(bootstrap, "pip", lambda venv, *arguments: given.append(" ".join(arguments[:-1])))
        bootstrap.install_lock(ROOT, ROOT / "requirements" / "gpu.lock")
        bootstrap.install_project(ROOT)
        runs = build_stage("gpu").last("RUN"), final_stage("gpu").last("RUN")
        assert all(options in run for options, run in zip(given, runs, strict=True))

    @each_image
    def test_the_lock_holds_a_fitting_version_of_every_requirement(self, kind):
        for requirement in map(Requirement, lock.requirements(PROJECT["project"], EXTRAS[kind])):
            name = lock.canonical(requirement.name)
            if kind == "gpu" or name not in lock.LEFT_OUT:
                assert requirement.specifier.contains(LOCKS[kind][name], prereleases=True), requirement

    def test_the_gpu_lock_checks_every_file_and_names_no_host(self):
        text = (ROOT / "requirements" / "gpu.lock").read_text(encoding="utf-8")
        entries = re.split(r"^(?=\S+==)", text, flags=re.MULTILINE)[1:]
        assert len(entries) == len(LOCKS["gpu"]) > 100
        assert all("--hash=sha256:" in entry for entry in entries)
        assert "://" not in text

    def test_both_locks_agree_but_for_what_vllm_and_torch_demand(self):
        differing = {name for name, version in LOCKS["cpu"].items() if LOCKS["gpu"].get(name, version) != version}
        assert differing <= {"apache-tvm-ffi", "triton"}
        assert LOCKS["gpu"]["torch"] == bootstrap.TORCH

    @each_image
    def test_the_final_stage_starts_anew_from_the_same_python(self, kind):
        first, last = IMAGES[kind]
        assert first.source == last.source == "${PYTHON_IMAGE}"
        assert last.all("COPY") == ["--from=build /opt/venv /opt/venv", ". ."]


class TestContext:
    def test_every_copied_file_is_let_through(self):
        copied = {name for stages in IMAGES.values() for stage in stages for name in stage.files}
        assert copied - {"."} <= context(ROOT)

    def test_what_installs_the_project_and_all_of_its_code_are_let_through(self):
        seen = context(ROOT)
        packages = PROJECT["tool"]["importlinter"]["root_packages"]
        code = {str(path.relative_to(ROOT)) for name in packages for path in (ROOT / name).rglob("*.py")}
        assert {"pyproject.toml", "LICENSE", "tools/bootstrap.py", *code} <= seen

    @pytest.mark.parametrize(
        "name",
        [
            ".env",
            "assistant/.env",
            ".git/config",
            ".venv/pyvenv.cfg",
            "tests/test_x.py",
            "docker/compose.yaml",
            "x.pem",
        ],
    )
    def test_what_may_be_secret_or_is_of_no_use_stays_out(self, name, tmp_path):
        for path in (name, "assistant/errors.py"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        assert context(tmp_path) == {"assistant/errors.py"}


@each_image
class TestRunning:
    def test_nobody_is_root(self, kind):
        user = final_stage(kind).last("USER")
        assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)  # numbers: Kubernetes can check them
        names = [name for name, _ in final_stage(kind).steps]
        assert "RUN" not in names[names.index("USER") :]

    def test_it_starts_sotto_up_without_a_shell_so_that_signals_arrive(self, kind):
        assert final_stage(kind).program("ENTRYPOINT") == ["tini", "--", "sotto"]
        (subcommand,) = final_stage(kind).program("CMD")
        assert subcommand == "up"
        assert subcommand in get_command(app).commands

    def test_its_settings_are_settings(self, kind, monkeypatch):
        given = {name: value for name, value in final_stage(kind).environment.items() if name.startswith("SOTTO_")}
        for name, value in given.items():
            assert name.removeprefix("SOTTO_").lower() in Settings.model_fields
            monkeypatch.setenv(name, value)
        settings = Settings()
        assert str(settings.home) == final_stage(kind).last("VOLUME") == "/data"
        assert str(settings.port) == final_stage(kind).last("EXPOSE")
        assert settings.engine_port != settings.port

    def test_no_secret_is_set(self, kind):
        names = {name for stage in IMAGES[kind] for name in stage.environment}
        assert not [name for name in names if re.search(r"TOKEN|KEY|SECRET|PASSWORD", name)]

    @pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (None, False)])
    def test_it_is_healthy_when_readyz_says_so(self, kind, status, healthy, answering):
        _, *program = final_stage(kind).program("HEALTHCHECK")
        port = answering("/readyz", status)
        environment = {**os.environ, "SOTTO_PORT": str(port)}
        answer = subprocess.run(
            [sys.executable, *program], env=environment, capture_output=True, timeout=30, check=False
        )
        assert (answer.returncode == 0) is healthy


@pytest.fixture
def answering() -> Iterator[object]:
    """Starts a server that answers ``path`` with ``status`` (None: none) and gives its port."""
    started = []

    def start(path: str, status: int | None) -> int:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status if self.path == path else 404)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        started.append(server)
        if status is None:
            server.server_close()
        else:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_port

    yield start
    for server in started:
        if server.fileno() != -1:
            server.shutdown()
            server.server_close()


class TestCompose:
    def test_it_starts_the_cpu_image_unless_the_other_is_asked_for(self):
        assert "profiles" not in COMPOSE["services"]["cpu"]
        assert COMPOSE["services"]["gpu"]["profiles"] == ["gpu"]

    @each_service
    def test_its_image_is_built_from_this_repository(self, service):
        folder = (DOCKER / service["build"]["context"]).resolve()
        assert folder == ROOT
        assert (folder / service["build"]["dockerfile"]).is_file()

    @each_service
    def test_this_machine_alone_reaches_the_api_and_nobody_the_engine(self, service):
        (port,) = service["ports"]
        assert re.fullmatch(r"127\.0\.0\.1:\$\{SOTTO_PORT:-8000\}:8000", port)
        assert "network_mode" not in service

    @each_service
    def test_state_is_in_a_named_volume(self, service):
        assert service["volumes"] == ["data:/data"]
        assert "data" in COMPOSE["volumes"]

    @each_service
    def test_it_may_do_no_more_than_it_must(self, service):
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert not {"privileged", "cap_add", "devices", "pid", "ipc", "env_file", "secrets"} & service.keys()

    @each_service
    def test_a_stop_leaves_time_for_replies_and_engine_to_end(self, service):
        from assistant.cli.up import DRAIN_SECONDS
        from assistant.engine.process import Pace

        assert int(service["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS + Pace().stop

    @each_service
    def test_docker_compose_reads_it(self, service):
        command = next(filter(answers, (["docker", "compose"], ["docker-compose"])), None)
        if command is None:
            pytest.skip("Docker Compose is not installed")
        asked = [*command, "-f", str(DOCKER / "compose.yaml"), "--profile", "gpu", "config", "--format", "json"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SOTTO_")}
        read = json.loads(subprocess.run(asked, env=environment, capture_output=True, check=True).stdout)
        (found,) = [each for each in read["services"].values() if each["image"] == service["image"]]
        assert [(port["host_ip"], port["published"], port["target"]) for port in found["ports"]] == [
            ("127.0.0.1", "8000", 8000)
        ]
        assert found["environment"] == {"SOTTO_MODEL": None, "SOTTO_ALLOWED_HOSTS": "localhost"}


def answers(command: list[str]) -> bool:
    try:
        return subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@each_image
def test_the_linter_finds_nothing(kind):
    linter = Path(sys.executable).with_name("hadolint")
    command = [str(linter), str(DOCKER / f"{kind}.Dockerfile")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout) == (0, "")
