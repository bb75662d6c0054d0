"""Renders what the benchmarks wrote (benchmarks/results/*.json) as the page docs/figures.md; `tools.docs` calls it."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.report import FIGURES, RESULTS, tables


def figures_text(results: Path = RESULTS, pictures: Path = FIGURES) -> str:
    """A section for each benchmark that has a result: what it ran on, how to run it again, its picture and tables."""
    sections = []
    for path in sorted(results.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        name, machine = result["benchmark"], result["machine"]
        size = [f"{machine['cores']} cores", f"{machine['bf16']} bfloat16", f"{machine['memory_gb']} GB"]
        ran_on = ", ".join(filter(None, [machine["cpu"], *size, machine["gpus"], f"Python {machine['python']}"]))
        packages = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
        parts = [
            f"## {name}",
            *filter(None, [result["note"]]),
            f"```\n{result['command']}\n```",
            f"{result['date']}, revision {result['revision']}, on {ran_on}; {packages}.",
        ]
        if (picture := pictures / f"{name}.svg").exists():
            parts.append(f"![{name}]({pictures.name}/{picture.name})")
        sections.append("\n\n".join([*parts, tables(result["rows"])]))
    return "\n\n".join(sections or ["No benchmark has been written down yet: `make bench`."]) + "\n"
