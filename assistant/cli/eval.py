"""`sotto eval`: measures what Sotto does, with targets beside the figures.

The table or JSON goes to standard output, progress to standard error. Exit codes: 0 measured, whatever the figures;
1 it could not be measured; 2 the command line is wrong.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assistant.cli.eval_personalisation import personalisation
from assistant.cli.output import Steps, failure, print_json, progress_bars
from assistant.evaluation.sets import SetName

if TYPE_CHECKING:
    from assistant.engine.gateway import VllmEngine
    from assistant.evaluation.gold import Gold
    from assistant.evaluation.redial import RedialTurn
    from assistant.evaluation.report import Figure, Report
    from assistant.settings import Settings

app = typer.Typer(help="Measure the quality of turns and of personalisation.", no_args_is_help=True)

REDIAL_TURNS = 300


app.command()(personalisation)


@app.command()
def starter(
    model: Annotated[
        str | None, typer.Option(help="Model to measure; SOTTO_MODEL by default.", show_default=False)
    ] = None,
    url_engine: Annotated[
        str | None, typer.Option(help="A vLLM that serves it already; otherwise one is started.", show_default=False)
    ] = None,
    which: Annotated[
        SetName, typer.Option("--set", help="The held-out gold set, or the one that rules of reading are chosen on.")
    ] = "gold",
    limit: Annotated[int | None, typer.Option(min=1, help="At most N of each part.", show_default=False)] = None,
    redial: Annotated[
        Path | None,
        typer.Option(help="ReDial's test_data.jsonl(.gz), to measure people's turns too.", exists=True, dir_okay=False),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Turns at a time; 1 for timings to quote.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="File for the figures and every failure, as JSON.", show_default=False)
    ] = None,
    home: Annotated[
        Path | None, typer.Option(help="Folder of all state; SOTTO_HOME by default.", show_default=False)
    ] = None,
) -> None:
    """Measure the conversation on a set written by hand: readings, constraints, grounding, form and times."""
    from assistant.errors import SottoError
    from assistant.evaluation.gold import load_gold, spread
    from assistant.evaluation.redial import redial_turns
    from assistant.settings import Settings

    given = {name: value for name, value in (("model", model), ("home", home)) if value is not None}
    settings = Settings().model_copy(update=given)
    gold = load_gold(which).limited(limit)
    try:
        turns = spread(redial_turns(redial), limit or REDIAL_TURNS) if redial else ()
        with progress_bars() as (_, step):
            found = asyncio.run(_measure(settings, url_engine, gold, turns, concurrency, step))
    except (SottoError, OSError, ValueError) as error:
        raise failure(error) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found.as_dict(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if as_json:
        print_json({**found.as_dict(), "failures": len(found.failures)})
    else:
        _print_table(found, out)


async def _measure(
    settings: Settings, url: str | None, gold: Gold, redial: tuple[RedialTurn, ...], concurrency: int, step: Steps
) -> Report:
    from transformers import AutoTokenizer

    from assistant.dialogue.turn import Assistant
    from assistant.dialogue.understand import Understander
    from assistant.engine.command import SERVED_NAME
    from assistant.engine.model import find_model
    from assistant.errors import EngineUnavailable
    from assistant.evaluation.gold import faults
    from assistant.evaluation.record import Recorder
    from assistant.evaluation.report import report
    from assistant.evaluation.run import Subject, run
    from retrieval.search import Library

    library = await asyncio.to_thread(Library.open, settings.home, progress=step)
    if missing := faults(gold, library.catalogue):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(
            f"The gold set speaks of the bundled catalogue, which {settings.home} does not hold: {missing[0]}{more}."
        )
    folder = await asyncio.to_thread(find_model, settings.model)
    tokenizer = await asyncio.to_thread(AutoTokenizer.from_pretrained, folder)
    async with _engine(settings, folder, url, step) as engine:
        if url is not None and not await engine.healthy():
            raise EngineUnavailable(f"No engine answers at {url}. Start one, or leave --url-engine off.")
        recorder = Recorder(engine)
        assistant = Assistant(library, recorder, tokenizer)
        reader = Understander(library, recorder, tokenizer)
        served = await engine.models()
        name = SERVED_NAME if SERVED_NAME in served else served[0]
        subject = Subject(assistant, reader, recorder, library, name)
        results = await run(subject, gold, redial, step, concurrency)
    return report(results)


@asynccontextmanager
async def _engine(settings: Settings, folder: Path, url: str | None, step: Steps) -> AsyncIterator[VllmEngine]:
    """The engine at ``url``, or one started for as long as this lasts."""
    from assistant.engine.command import environment, serve_command
    from assistant.engine.gateway import VllmEngine
    from assistant.engine.model import context_length
    from assistant.engine.process import EngineProcess

    if url is not None:
        engine = VllmEngine(url)
        try:
            yield engine
        finally:
            await engine.aclose()
        return
    process = EngineProcess(
        serve_command(folder, settings.engine_port, context=context_length(folder)),
        settings.engine_port,
        settings.home,
        variables=environment(),
        progress=lambda stage: step(f"engine: {stage}", 0, 1),
    )
    try:
        await process.start()
        await process.wait_ready()
        engine = VllmEngine(process.url)
        try:
            yield engine
        finally:
            await engine.aclose()
    finally:
        await process.stop()


def _print_table(found: Report, out: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table("Measure", "On", *("Figure", "95 %", "Target", "n"), box=None, header_style="bold", pad_edge=False)
    for column in table.columns[2:]:
        column.justify = "right"
    for figure in found.figures:
        style = "" if figure.reached is None else "green" if figure.reached else "red"
        table.add_row(
            figure.title, Text(figure.part, "dim"), Text(_percent(figure.value), style), _range(figure), *_aim(figure)
        )
    console.print(table)
    if found.slots:
        fields = sorted(found.slots.items(), key=lambda pair: pair[1]["f1"])
        console.print("Slot F1 by field: " + ", ".join(f"{name} {_percent(one['f1'])}" for name, one in fields))
    for stage, times in found.timings.items():
        console.print(f"{stage}: median {times['p50']:.2f} s, 95th percentile {times['p95']:.2f} s")
    where = f", listed in {out}" if out else "; --out FILE lists them"
    missed = f"{len(found.missed)} figures below target"
    console.print(f"{missed}, {len(found.failures)} single failures{where}. {found.seconds:.0f} s.")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _range(figure: Figure) -> str:
    return "" if figure.low is None or figure.high is None else f"{100 * figure.low:.1f}–{100 * figure.high:.1f}"


def _aim(figure: Figure) -> tuple[str, str]:
    return "" if figure.target is None else f"≥ {_percent(figure.target)}", str(figure.n)
