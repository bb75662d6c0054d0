"""A whole Sotto, started for as long as a benchmark lasts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def served(home: Path | None = None) -> Iterator[tuple[str, str, float]]:
    """Addresses of the API and of the engine of a running `sotto up`, and the seconds it took to be ready."""
    with tempfile.TemporaryDirectory() as folder:
        port, engine_port = free_port(), free_port()
        command = [sys.executable, "-m", "assistant", "up", "--no-open", "--port", str(port)]
        command += ["--engine-port", str(engine_port), "--home", str(home or folder)]
        started = time.perf_counter()
        log = Path(folder) / "up.log"
        with log.open("w", encoding="utf-8") as errors:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT, env=os.environ.copy()
            )
        try:
            if process.stdout is None or "ready" not in process.stdout.readline():
                raise RuntimeError(f"Sotto did not start:\n{log.read_text(encoding='utf-8')}")
            yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{engine_port}", time.perf_counter() - started
        finally:
            process.terminate()
            process.communicate()
