"""Sets up the virtual environment: `make run` and `make test` call it first. Standard library only.

``.venv`` in this repository (``SOTTO_VENV`` overrides) gets torch, then the locks, then the project in editable form.
Each step leaves a stamp that names what it installed: a second run skips what is done, an interrupted one goes on with
the step it was in. This file also starts on Pythons that the project does not support, to say which one it needs.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TORCH = "2.13.0"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PYTHONS = ("python3.11", "python3.12")
NEEDED_GB = 6.0
PROGRESS_EVERY = 25
NETWORK_SIGNS = (
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ProxyError",
    "Network is unreachable",
)
MEND_NETWORK = "No package index could be reached. Connect to the network, or tell pip of a mirror: PIP_INDEX_URL=URL."
MEND_DISK = "The disk is full. Free some space, or put the environment elsewhere: SOTTO_VENV=FOLDER."


class Step(NamedTuple):
    """One part of set-up; ``digest`` names the state it brings about."""

    name: str
    digest: str
    install: Callable[[], None]

    def stamp(self, venv: Path) -> Path:
        """The file that says in ``venv`` that this step is done."""
        return venv / f".sotto-{self.name}"

    def done(self, venv: Path) -> bool:
        """True when ``venv`` is already in the state that this step brings about."""
        stamp = self.stamp(venv)
        return stamp.exists() and stamp.read_text(encoding="utf-8") == self.digest


class SetupError(Exception):
    """Set-up cannot go on; the message says why and what to do."""


def say(text: str) -> None:
    """One line of progress, seen at once."""
    print(text, flush=True)


def find_python() -> str:
    """A Python 3.11 or 3.12 that runs: this one first, then those on the PATH; SetupError where there is none."""
    for name in (sys.executable, *PYTHONS):
        path = shutil.which(name)
        probe = "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))"
        # A version manager's shim can lie on the PATH for a Python that is not installed: run it to know.
        if path and subprocess.run([path, "-c", probe], capture_output=True, check=False).returncode == 0:
            return path
    raise SetupError(
        "No Python 3.11 or 3.12 found. Install one and run this again. "
        "Debian and Ubuntu: apt install python3.11 python3.11-venv"
    )


def check_disk(venv: Path) -> None:
    """SetupError where fewer than `NEEDED_GB` are free for ``venv``."""
    parent = next(folder for folder in (venv, *venv.parents) if folder.exists())
    free = shutil.disk_usage(parent).free / 1e9
    if free < NEEDED_GB:
        raise SetupError(
            f"Set-up needs {NEEDED_GB:.0f} GB in {parent}; {free:.1f} GB are free. Free some, or set SOTTO_VENV=FOLDER."
        )


def make_venv(venv: Path) -> None:
    """Creates ``venv`` where there is none that works; SetupError rather than clear a folder that is none."""
    if subprocess_ok([str(venv / "bin" / "python"), "-m", "pip", "--version"]):
        return
    if venv.exists() and not venv.is_dir():
        raise SetupError(f"{venv} is a file, so it cannot hold the environment. Move it, or set SOTTO_VENV=FOLDER.")
    if venv.exists() and any(venv.iterdir()) and not (venv / "pyvenv.cfg").exists():
        raise SetupError(
            f"{venv} holds files but no virtual environment; nothing was touched. Set SOTTO_VENV to another folder."
        )
    python = find_python()
    check_disk(venv)
    say(f"Creating {venv} with {python} ...")
    made = subprocess.run([python, "-m", "venv", "--clear", str(venv)], capture_output=True, text=True, check=False)
    if made.returncode:
        hint = "On Debian and Ubuntu install python3.11-venv. " if "ensurepip" in made.stdout + made.stderr else ""
        raise SetupError(f"{python} -m venv failed. {hint}It said:\n{(made.stdout + made.stderr).strip()}")


def subprocess_ok(command: list[str]) -> bool:
    """True when ``command`` exists and exits with 0."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def drop_half_installed(venv: Path) -> None:
    """Makes pip forget the packages that an interruption cut short, which it would take for installed."""
    for record in venv.glob("lib/python3*/site-packages/*.dist-info"):
        if not (record / "INSTALLER").exists():  # pip writes it last, and no wheel brings one
            shutil.rmtree(record)


def pip(venv: Path, *arguments: str) -> None:
    """``pip install`` with pip's own progress bars in a terminal, else a line every few packages."""
    command = [
        str(venv / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        *arguments,
    ]
    drop_half_installed(venv)
    if sys.stdout.isatty():
        code, log = subprocess.run(command, check=False).returncode, ""
    else:
        code, log = _pip_in_lines(command)
    if code:
        raise SetupError(_explain(log, venv))


def _pip_in_lines(command: list[str]) -> tuple[int, str]:
    """Exit status and whole output of pip, with the packages counted while they come."""
    lines, count = [], 0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        try:
            for line in process.stdout or ():
                lines.append(line)
                count += line.startswith("Collecting ")
                if line.startswith("Collecting ") and count % PROGRESS_EVERY == 0:
                    say(f"  {count} packages fetched")
                elif line.startswith("Installing collected packages") and count >= PROGRESS_EVERY:
                    say("  installing them (no output for a minute or so) ...")
        except BaseException:
            process.terminate()  # stopped while it runs: pip must not go on alone
            raise
    return process.returncode, "".join(lines)


def _explain(log: str, venv: Path) -> str:
    """What pip's failure means and what to do about it."""
    if "No space left on device" in log or shutil.disk_usage(venv).free < 1e8:
        return MEND_DISK
    tail = "\n".join(line for line in log.splitlines() if not line.startswith("WARNING"))[-2000:]
    if any(sign in log for sign in NETWORK_SIGNS):
        return f"{MEND_NETWORK} What is installed so far is kept. pip said:\n{tail}"
    return f"pip failed. What is installed so far is kept; run this again to go on.\n{tail}".rstrip()


def install_torch(venv: Path) -> None:
    """torch's CPU build from pip's configured indexes, else from PyTorch's own, else the plain (CUDA) release.

    Apart from the lock because the build's file differs by place. The last resort brings gigabytes of CUDA libraries.
    """
    attempts = (
        ("as pip is configured", ["--no-deps", f"torch=={TORCH}+cpu"]),
        (
            "from PyTorch's CPU index",
            ["--no-deps", "--retries", "1", "--index-url", TORCH_CPU_INDEX, f"torch=={TORCH}+cpu"],
        ),
        ("from the standard index, with its CUDA libraries", [f"torch=={TORCH}"]),
    )
    problems = []
    for where, arguments in attempts:
        say(f"Installing torch {TORCH} {where} ...")
        try:
            return pip(venv, *arguments)
        except SetupError as problem:
            problems.append(f"{where}: {problem}")
    raise SetupError(f"torch {TORCH} could not be installed.\n" + "\n".join(problems))


def install_lock(venv: Path, lock: Path) -> None:
    """Installs what ``lock`` names, each file checked against its hashes."""
    count = lock.read_text(encoding="utf-8").count("==")
    say(f"Installing the {count} packages of {lock.name}: some minutes the first time ...")
    pip(venv, "--no-deps", "--require-hashes", "-r", str(lock))


def install_project(venv: Path) -> None:
    """Installs this repository in place, and with it the command ``sotto``."""
    pip(venv, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))


def digest(*parts: Path | str) -> str:
    """sha256 over texts and files' bytes."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.read_bytes() if isinstance(part, Path) else part.encode())
    return total.hexdigest()


def steps(venv: Path, *, dev: bool, project: bool = True) -> list[Step]:
    """What set-up consists of, in order; without ``project`` what the project needs alone."""
    locks = [ROOT / "requirements" / name for name in ("cpu.lock", *(["dev.lock"] if dev else []))]
    wanted = [
        Step("torch", TORCH, partial(install_torch, venv)),
        *(Step(lock.stem, digest(lock), partial(install_lock, venv, lock)) for lock in locks),
    ]
    if project:
        sources = digest(str(ROOT), ROOT / "pyproject.toml")
        wanted.append(Step("sotto", sources, partial(install_project, venv)))
    return wanted


def set_up(venv: Path, *, dev: bool, project: bool = True) -> None:
    """Brings ``venv`` to what the locks say, doing only what is not yet done."""
    wanted = steps(venv, dev=dev, project=project)
    if all(step.done(venv) for step in wanted) and (venv / "bin" / "python").exists():
        return
    make_venv(venv)
    todo = [step for step in wanted if not step.done(venv)]
    for number, step in enumerate(todo, 1):
        say(f"Set-up, step {number} of {len(todo)}: {step.name}")
        step.install()
        step.stamp(venv).write_text(step.digest, encoding="utf-8")
    say(f"Set-up done: {venv}")


def main() -> int:
    """Exit status: 0 when the environment is ready, 1 with a reason, 130 when interrupted."""
    parser = argparse.ArgumentParser(description="Set up the virtual environment.")
    parser.add_argument("--dev", action="store_true", help="with what the tests and checks need")
    parser.add_argument("--no-project", action="store_true", help="only what the project needs; its code comes later")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: children are stopped, the lock is let go
    venv = Path(os.environ.get("SOTTO_VENV") or ROOT / ".venv").expanduser().absolute()
    try:
        venv.parent.mkdir(parents=True, exist_ok=True)
        with venv.with_name(f"{venv.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two set-ups at once would trip over each other: the second waits
            set_up(venv, dev=chosen.dev, project=not chosen.no_project)
    except (SetupError, OSError) as problem:
        print(f"\nset-up failed: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up interrupted; run it again to go on where it was", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
