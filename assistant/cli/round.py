"""`sotto round`: federated rounds over a population of simulated devices, on to a release.

State is kept after every round: what was killed goes on with `sotto round resume` and ends with the same weights.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from assistant.cli.output import failure, print_facts, print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from assistant.settings import Settings
    from federation.rounds.coordinator import State, Summary
    from federation.rounds.session import Spec

app = typer.Typer(help="Run federated rounds that end in a release.", no_args_is_help=True)

ROUNDS = "rounds"
"""Where runs are in SOTTO_HOME."""

Home = Annotated[Path | None, typer.Option(help="Folder of all state; SOTTO_HOME by default.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print a line of JSON for each round, and one for the release.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="The run's name.", show_default=False)]


@app.command()
def run(
    population: Annotated[
        Path | None,
        typer.Option(help="Folder of histories (ml-latest-small or ml-100k).", exists=True, show_default=False),
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="People of the population that take part.")] = 60,
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds.")] = 5,
    sampled: Annotated[int | None, typer.Option(min=1, help="Devices asked a round; a fifth, 5 at least.")] = None,
    fewest: Annotated[int, typer.Option(min=1, help="Devices that must answer.")] = 2,
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds that a round lasts at most.")] = 600.0,
    aggregation: Annotated[str, typer.Option(help="How updates become one: docs/federation.md.")] = "ffa-lora",
    optimizer: Annotated[str, typer.Option(help="Server optimizer: fedavg or fedadam.")] = "fedavg",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="The aggregation's option; optimizer.NAME=VALUE."),
    ] = None,
    heaviest: Annotated[int, typer.Option(min=1, help="Most that a device's examples weigh; 1 weighs all alike.")] = 64,
    rank: Annotated[int, typer.Option(min=1, max=512, help="Rank of the LoRA.")] = 8,
    alpha: Annotated[float, typer.Option(min=0.001, help="Alpha of the LoRA.")] = 16.0,
    soft_prompt: Annotated[int, typer.Option(min=0, max=256, help="Tokens of the soft prompt.")] = 4,
    cohorts: Annotated[int, typer.Option(min=1, max=64, help="Cohorts that devices choose among.")] = 1,
    floor: Annotated[int, typer.Option(min=1, help="Devices below which a cohort does not ship.")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps of a device in a round.")] = 8,
    batch: Annotated[int, typer.Option(min=1, help="Choices in a step.")] = 4,
    learning_rate: Annotated[float, typer.Option(min=1e-9, help="Of the devices.")] = 1e-3,
    proximal: Annotated[float, typer.Option(min=0, help="FedProx's mu.")] = 0.0,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds that a device trains at most.")] = 600.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything drawn.")] = 0,
    carrier: Annotated[
        Literal["inprocess", "simulation", "superlink"],
        typer.Option(help="What carries messages: this process, Ray, or SuperLink (docs/federation.md)."),
    ] = "inprocess",
    synthetic: Annotated[bool, typer.Option("--synthetic", help="Devices without a model, to try things out.")] = False,
    parent: Annotated[
        str | None, typer.Option("--from", metavar="REFERENCE", help="Release to go on from.", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; the time by default.", show_default=False)] = None,
    model: Annotated[str | None, typer.Option(help="Base model; SOTTO_MODEL by default.", show_default=False)] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Run rounds and register the release that comes out."""
    from federation.rounds.plan import Plan

    if population is None and not synthetic and carrier != "superlink":
        raise typer.BadParameter("give a folder, or --synthetic", param_hint="--population")
    options = _options(set_ or [])
    asked = sampled or min(devices, max(5, devices // 5))
    with _told():
        settings = _settings(home, model)
        plan = Plan(
            rounds=rounds, sampled=asked, fewest=min(fewest, asked), deadline=deadline, aggregation=aggregation,
            aggregation_options=options[""], optimizer=optimizer, optimizer_options=options["optimizer"],
            heaviest=heaviest, rank=rank, alpha=alpha, soft_prompt=soft_prompt, cohorts=cohorts, floor=floor,
            steps=steps, batch=batch, learning_rate=learning_rate, proximal=proximal, seconds=seconds, seed=seed,
        )  # fmt: skip
        source = "synthetic" if synthetic else population
        folder = _begin(settings, plan, source, devices, carrier, parent, name or time.strftime("%Y%m%d-%H%M%S"))
    if carrier != "superlink":
        _go(folder, settings, as_json=as_json)
    elif as_json:
        print_json({"run": folder.name, "folder": str(folder)})
    else:
        typer.echo(f"Kept in {folder}: hand it to `flwr run`, then `sotto round resume {folder.name}`.")


@app.command()
def resume(run: Run, home: Home = None, as_json: Json = False) -> None:
    """Go on with a run where it stopped, to the same release as without the stop."""
    settings = _settings(home)
    _go(settings.home / ROUNDS / run, settings, as_json=as_json)


@app.command("list")
def list_(home: Home = None, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the runs and how far they have come."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from federation.rounds.session import runs

    with _told():
        found = [_row(spec, state) for spec, state in runs(_settings(home).home / ROUNDS)]
    if as_json:
        print_json(found)
    elif found:
        table = Table(*found[0], box=None, padding=(0, 2, 0, 0))
        for row in found:
            table.add_row(*(Text(_shown(value)) for value in row.values()))
        Console().print(table)
    else:
        typer.echo("There are no runs yet: `sotto round run` begins one.", err=True)


@app.command()
def show(
    run: Run, home: Home = None, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Show a run's plan and its rounds."""
    from rich.console import Console

    from federation.rounds.checkpoint import load
    from federation.rounds.session import read

    with _told():
        folder = _settings(home).home / ROUNDS / run
        spec, state = read(folder), load(folder)
    if as_json:
        print_json({**spec.model_dump(mode="json"), "rounds": state.summaries})
        return
    print_facts({name: str(value) for name, value in {**_row(spec, state), **spec.plan.model_dump()}.items()})
    console = Console()
    for summary in state.summaries:
        console.print(_line(summary, spec.plan.rounds), highlight=False, markup=False)


def _begin(
    settings: Settings,
    plan: Any,
    source: Path | str | None,
    devices: int,
    carrier: Literal["inprocess", "simulation", "superlink"],
    parent: str | None,
    name: str,
) -> Path:
    """Keeps the run in its folder, which is returned; its devices are of a population, synthetic, or people's own."""
    from assistant.engine.model import find_model
    from federation.releases.base import BaseModel, read_base
    from federation.releases.registry import Registry
    from federation.rounds.session import Spec, begin

    if source == "synthetic":
        trainer, options = "synthetic", {"rank": plan.rank, "tokens": plan.soft_prompt}
        base = BaseModel("0" * 64, 8, "synthetic")
    else:
        model = find_model(settings.model)
        base = read_base(model)
        trainer = "device" if source is None else "population"
        place: dict[str, Any] = {"home": str(settings.home)}
        if source is not None:
            place = {"folder": str(Path(source).absolute()), "count": devices, "seed": plan.seed}
        options = {
            **place, "model": str(model.absolute()), "rank": plan.rank, "alpha": plan.alpha,
            "soft_prompt": plan.soft_prompt, "core": plan.aggregation == "fed-sb",
        }  # fmt: skip
    before = Registry(settings.home, settings.mlflow_uri).fetch(parent) if parent else None
    spec = Spec(
        name=name, trainer=trainer, options=options, devices=devices, carrier=carrier, base=base,
        parent=before.digest if before else None, plan=plan,
    )  # fmt: skip
    folder = settings.home / ROUNDS / name
    begin(folder, spec, before)
    return folder


def _go(folder: Path, settings: Settings, *, as_json: bool) -> None:
    from federation.releases.registry import Registry
    from federation.rounds.session import go, read, release
    from federation.rounds.tracking import track

    with _told(folder.name), _watching(read(folder), as_json=as_json) as watcher:
        state = go(folder, watcher)
        registered = release(folder, Registry(settings.home, settings.mlflow_uri))
        track(settings.home, settings.mlflow_uri, read(folder), state, registered.digest)
    if as_json:
        print_json({"release": registered.digest, "version": registered.version, "run": folder.name})
    else:
        typer.echo(f"Release v{registered.version}: {registered.digest}")


class _Watch:
    """Shows a run: a bar for the devices of the round, a line for each that is over."""

    def __init__(self, spec: Spec, console: Console, bars: Progress, *, as_json: bool) -> None:
        self._spec, self._console, self._bars, self._as_json = spec, console, bars, as_json
        self._rounds = bars.add_task("rounds", total=spec.plan.rounds)
        self._devices = bars.add_task("devices", total=None)

    def asked(self, number: int, devices: int) -> None:
        """See `Watcher`."""
        self._bars.update(self._rounds, completed=number - 1)
        self._bars.reset(self._devices, total=devices, description=f"devices of round {number}")

    def answered(self, done: int) -> None:
        """See `Watcher`."""
        self._bars.update(self._devices, completed=done)

    def closed(self, state: State, summary: Summary) -> None:
        """See `Watcher`."""
        self._bars.update(self._rounds, completed=state.done)
        if self._as_json:
            print_json(summary)
        else:
            self._console.print(_line(summary, self._spec.plan.rounds), highlight=False, markup=False)


@contextmanager
def _watching(spec: Spec, *, as_json: bool) -> Iterator[_Watch]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        yield _Watch(spec, console, bars, as_json=as_json)


def _line(summary: Summary, rounds: int) -> str:
    lost = summary["dropped"] + sum(summary["failed"].values())
    return (
        f"round {summary['round']}/{rounds}: {summary['answered']} of {summary['asked']} devices"
        + (f" ({lost} lost)" if lost else "")
        + f", loss {summary['loss']:.3f} (base {summary['base_loss']:.3f}), NDCG {summary['ndcg']:.3f} "
        f"(base {summary['base_ndcg']:.3f}), residual {summary['residual']:.1e}, "
        f"{summary['bytes_up'] / 1e6:.2f} MB up, {summary['bytes_down'] / 1e6:.2f} MB down, {summary['seconds']:.0f} s"
    )


def _row(spec: Spec, state: State) -> dict[str, Any]:
    last = state.summaries[-1] if state.summaries else {}
    return {
        "run": spec.name,
        "rounds": f"{state.done} of {spec.plan.rounds}",
        "devices": spec.devices,
        "aggregation": spec.plan.aggregation,
        "loss": last.get("loss"),
        "ndcg": last.get("ndcg"),
    }


def _shown(value: Any) -> str:
    return "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _options(given: list[str]) -> dict[str, dict[str, Any]]:
    """The options of the aggregation under the empty name, those of the optimizer under its own."""
    import json

    found: dict[str, dict[str, Any]] = {"": {}, "optimizer": {}}
    for one in given:
        name, is_set, value = one.partition("=")
        whose, _, rest = name.rpartition(".")
        if not is_set or whose not in found:
            raise typer.BadParameter(f"{one!r} is not like share=0.2 or optimizer.tau=0.01", param_hint="--set")
        try:
            found[whose][rest] = json.loads(value)
        except json.JSONDecodeError:
            raise typer.BadParameter(f"{value!r} is no number", param_hint="--set") from None
    return found


def _settings(home: Path | None, model: str | None = None) -> Settings:
    from assistant.settings import Settings

    given = {name: value for name, value in (("home", home), ("model", model)) if value is not None}
    settings = Settings(**given)  # type: ignore[arg-type]
    return settings.model_copy(update={"home": settings.home.expanduser().absolute()})


@contextmanager
def _told(run: str = "RUN") -> Iterator[None]:
    """Errors of a run as messages, and exit code 1; Ctrl-C says how to go on."""
    from assistant.errors import SottoError
    from federation.releases.errors import ReleaseError
    from federation.rounds.checkpoint import CheckpointError
    from federation.rounds.coordinator import TooFewDevices

    try:
        yield
    except (SottoError, ReleaseError, CheckpointError, TooFewDevices, ValueError, OSError) as error:
        raise failure(error) from error
    except KeyboardInterrupt:
        typer.echo(f"sotto: stopped; `sotto round resume {run}` goes on from the last round that was over.", err=True)
        raise typer.Exit(130) from None
