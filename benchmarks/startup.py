"""Times the start of a Sotto that is set up: from the command to ready, and where the time goes.

python -m benchmarks.startup --repeats 3
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.report import RESULTS, ROOT, Row, write
from benchmarks.served import free_port

READY = "Sotto is ready"
VARYING = re.compile(r"\s*(\(\d[^)]*\)|at http.*|with the model .*|\d[\d,]* items.*)")


def start(home: Path, *, make: bool) -> dict[str, float]:
    """Starts and stops it once: each step that it told of, with its seconds from the command."""
    ports = ["--port", str(free_port()), "--engine-port", str(free_port())]
    options = ["--no-open", "--home", str(home), *ports]
    command = [sys.executable, "-m", "assistant", "up", *options]
    if make:
        command = ["make", "--no-print-directory", "run", f"ARGS={shlex.join(options)}"]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=os.environ.copy()
    )
    steps, said = {}, []
    try:
        for line in process.stdout or ():
            said.append(line)
            steps.setdefault(VARYING.sub("", line.strip()), time.perf_counter() - began)
            if line.startswith(READY):
                return steps
        raise RuntimeError(f"Sotto did not start:\n{''.join(said)}")
    finally:
        process.terminate()
        process.communicate()


def rows(starts: list[dict[str, float]]) -> list[Row]:
    """One row a step that every start had: when it was reached and how long after the step before, at the median."""
    times: dict[str, list[float]] = defaultdict(list)
    for steps in starts:
        for step, seconds in steps.items():
            times[step].append(seconds)
    reached = {step: float(np.median(seconds)) for step, seconds in times.items() if len(seconds) == len(starts)}
    found, before = list[Row](), 0.0
    for step, at in sorted(reached.items(), key=lambda pair: pair[1]):
        found.append({"step": step, "reached at s": round(at, 2), "after the step before s": round(at - before, 2)})
        before = at
    return found


def main() -> None:
    """Sets up a fresh home, then times it and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--make", action="store_true", help="start with `make run` instead of `sotto up`")
    parser.add_argument("--out", type=Path, help="folder for the result instead of the repository's")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        start(home, make=options.make)  # makes the catalogue and its index, and warms the disk's cache
        starts = [start(home, make=options.make) for _ in range(options.repeats)]
    command = shlex.join(["python", "-m", "benchmarks.startup", *sys.argv[1:]])
    note = "From the command to ready, set up and with a warm disk; what Sotto tells of on the way, at the median."
    write("startup", command, rows(starts), options.out or RESULTS, note=note)


if __name__ == "__main__":
    main()
