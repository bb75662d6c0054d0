"""Personalised ranking on MovieLens: what each level adds, beside baselines, as `sotto eval personalisation` finds it.

python -m benchmarks.personalisation --data ../shared/data/ml-100k ../shared/data/ml-latest-small
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks.report import ROOT, Row, write
from federation.device.population import read_population
from federation.evaluation.metrics import Spread
from federation.evaluation.personalisation import MEASURES, PUBLISHED, Comparison, compare

DATA = tuple(ROOT.parent / "shared" / "data" / name for name in ("ml-100k", "ml-latest-small"))
NOTE = (
    "The last item of each person, ranked among 99 items never met (of 100) and among all; per cent, mean ± deviation "
    "over seeds. Worst decile: NDCG@10 of 100 of the decile of activity where it is lowest. docs/personalisation.md "
    "has the protocol."
)


def rows(name: str, found: Comparison) -> list[Row]:
    """The lines of one data set."""
    title = f"{name}: {found.people} people, {found.items} items, seeds {found.seeds[0]} to {found.seeds[-1]}"
    lines: list[Row] = [
        {"table": title, "ranked by": row.name, **{measure: _shown(row.figures[measure]) for measure in MEASURES}}
        for row in found.rows
    ]
    if name == "ml-100k":
        for published, figures in PUBLISHED.items():
            cells = dict(zip(MEASURES, (f"{100 * one:.2f}" for one in figures), strict=False))
            lines.append({"table": title, "ranked by": published, **dict.fromkeys(MEASURES), **cells})
    gains = {step: _shown(gain) for step, gain in found.gains.items()}
    return [*lines, {"table": f"{name}: gain in NDCG@10 of 100 from level to level", **gains}]


def _shown(figure: Spread) -> str:
    return f"{100 * figure.mean:.2f} ± {100 * figure.deviation:.2f}"


def main() -> None:
    """Measures each data set and writes one result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", default=DATA)
    parser.add_argument("--seeds", type=int, default=5)
    wanted = parser.parse_args()
    lines: list[Row] = []
    for folder in wanted.data:
        start = time.monotonic()
        found = compare(read_population(folder), range(wanted.seeds), lambda *_: None)
        lines += rows(folder.name, found)
        print(f"{folder.name}: {time.monotonic() - start:.0f} s", flush=True)
    write("personalisation", f"python -m benchmarks.personalisation --seeds {wanted.seeds}", lines, note=NOTE)


if __name__ == "__main__":
    main()
