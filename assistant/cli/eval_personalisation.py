"""`sotto eval personalisation`: what each level of personalisation adds, on people the levels never saw the end of."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assistant.cli.output import failure, print_json, progress_bars

if TYPE_CHECKING:
    from federation.evaluation.metrics import Spread
    from federation.evaluation.personalisation import Comparison


def personalisation(
    data: Annotated[
        Path, typer.Option(help="Folder of ml-100k or ml-latest-small, unpacked.", exists=True, file_okay=False)
    ],
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Seeds 0 to N - 1, for means and deviations.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
    out: Annotated[Path | None, typer.Option(help="File for the figures, as JSON.", show_default=False)] = None,
    plot: Annotated[
        Path | None, typer.Option(help="File for a chart (.svg, .png or .pdf); needs matplotlib.", show_default=False)
    ] = None,
) -> None:
    """Rank each person's last item: base, global, cohort and personal, beside central and federated baselines."""
    from federation.device.population import read_population
    from federation.evaluation.baselines import MissingLibrary
    from federation.evaluation.personalisation import compare

    try:
        with progress_bars() as (_, step):
            found = compare(read_population(data), range(seeds), step)
        if plot is not None:
            _draw(found, plot)
    except (MissingLibrary, OSError, ValueError) as error:
        raise failure(error) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(asdict(found), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if as_json:
        print_json(asdict(found))
    else:
        _print_table(found)


def _print_table(found: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from federation.evaluation.personalisation import MEASURES, PUBLISHED

    console = Console()
    table = Table("", *MEASURES, box=None, header_style="bold", pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in found.rows:
        style = "" if row.kind == "level" else "dim"
        table.add_row(Text(row.name, style), *(Text(_percent(row.figures[name]), style) for name in MEASURES))
    for name, (hr, ndcg) in PUBLISHED.items():
        table.add_row(Text(name, "dim italic"), *(Text(f"{100 * one:.2f}", "dim italic") for one in (hr, ndcg)))
    console.print(table)
    steps = ", ".join(
        f"{name} {100 * gain.mean:+.2f} ± {100 * gain.deviation:.2f}" for name, gain in found.gains.items()
    )
    console.print(f"Gain in NDCG@10 of 100, in points: {steps}.")
    console.print(
        f"{found.people} people, {found.items} items, {found.vocabulary} of them in the shared matrices; "
        f"mean ± deviation over {len(found.seeds)} seeds, in per cent."
    )


def _percent(figure: Spread) -> str:
    return f"{100 * figure.mean:.2f} ± {100 * figure.deviation:.2f}"


def _draw(found: Comparison, path: Path) -> None:
    """HR@10 and NDCG@10 among 99 negatives as bars with deviations; ValueError where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError("--plot needs matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    names = [row.name for row in found.rows]
    colours = ["tab:blue" if row.kind == "level" else "tab:gray" for row in found.rows]
    for ax, measure in zip(axes, ("HR@10 of 100", "NDCG@10 of 100"), strict=True):
        spreads = [row.figures[measure] for row in found.rows]
        widths, errors = [100 * one.mean for one in spreads], [100 * one.deviation for one in spreads]
        ax.barh(names, widths, xerr=errors, color=colours)
        ax.set_xlabel(f"{measure}, %")
    axes[0].invert_yaxis()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
