"""`sotto device`: what this device keeps of its person, for that person alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assistant.cli.output import failure, print_facts, print_json

if TYPE_CHECKING:
    from federation.device.history import Problem
    from federation.device.store import EventStore

app = typer.Typer(help="See, move and delete what this device keeps of you. It never leaves it.", no_args_is_help=True)

STORE = Path("device") / "events.sqlite"
"""Where the store is in SOTTO_HOME."""

_PROBLEMS_SHOWN = 20
Home = Annotated[Path | None, typer.Option(help="Folder of all state; SOTTO_HOME by default.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@app.command()
def status(home: Home = None, as_json: Json = False) -> None:
    """Show how much is kept, and where."""
    with _store(home) as store:
        events = store.events()
        facts = {"file": str(store.path), **store.counts(), "bytes": store.path.stat().st_size}
        facts["days"] = round((events[-1].at - events[0].at) / 86400) if events else 0
    if as_json:
        print_json(facts)
    else:
        print_facts({name: f"{value:,}" if isinstance(value, int) else str(value) for name, value in facts.items()})


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(exists=True, help="ratings.csv, JSON Lines, or an export.", show_default=False)
    ],
    user: Annotated[str | None, typer.Option(help="Which person of ratings.csv is you.", show_default=False)] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Import nothing where a row cannot be.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Take in your own history: MovieLens' ratings.csv, JSON Lines of titles, or an earlier export."""
    from federation.device.history import Titles, read_history
    from retrieval.bundled import open_catalogue

    problems: list[Problem] = []
    with _store(home) as store:
        before = sum(store.counts().values())
        if _is_export(file):
            store.restore(json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())
        else:
            events, problems = read_history(file, Titles(open_catalogue(_home(home))), user)
            if problems and strict:
                _complain(problems)
                raise failure("Nothing was imported: leave --strict off to import the other rows.")
            store.add_events(events)
        new = sum(store.counts().values()) - before
    if as_json:
        print_json({"new": new, "left out": len(problems)})
        return
    _complain(problems)
    typer.echo(f"{new:,} new, {len(problems):,} left out.")


@app.command()
def export(
    out: Annotated[
        Path | None, typer.Option(help="File to write; by default standard output.", show_default=False)
    ] = None,
    home: Home = None,
) -> None:
    """Write everything that is kept, as JSON Lines that `import` takes back."""
    with _store(home) as store:
        lines = [json.dumps(one, ensure_ascii=False) for one in store.export()]
    text = "".join(f"{line}\n" for line in lines)
    if out is None:
        typer.echo(text, nl=False)
        return
    out.touch(mode=0o600)
    out.write_text(text, encoding="utf-8")
    typer.echo(f"{len(lines):,} objects in {out}", err=True)


@app.command()
def prune(
    days: Annotated[float | None, typer.Option(min=0, help="Delete what is older.", show_default=False)] = None,
    most: Annotated[
        int | None, typer.Option(min=0, help="Keep the latest so many of each.", show_default=False)
    ] = None,
    home: Home = None,
) -> None:
    """Delete the oldest of what is kept."""
    if days is None and most is None:
        raise typer.BadParameter("say --days or --most")
    with _store(home) as store:
        typer.echo(f"{store.prune(days=days, most=most):,} deleted.")


@app.command()
def delete(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, home: Home = None) -> None:
    """Delete everything that is kept, for good."""
    with _store(home) as store:
        count = sum(store.counts().values())
        if not yes:
            typer.confirm(f"Delete all {count:,} of {store.path} for good?", abort=True, err=True)
        store.delete()
    typer.echo(f"{count:,} deleted.")


@contextmanager
def _store(home: Path | None) -> Iterator[EventStore]:
    from assistant.errors import SottoError
    from federation.device.history import HistoryError
    from federation.device.population import PopulationError
    from federation.device.store import EventStore, StoreError
    from retrieval.database import CatalogueError

    try:
        with EventStore(_home(home) / STORE) as store:
            yield store
    except (SottoError, StoreError, HistoryError, PopulationError, CatalogueError, OSError) as error:
        raise failure(str(error)) from error


def _home(home: Path | None) -> Path:
    from assistant.settings import Settings

    return (home or Settings().home).expanduser().absolute()


def _is_export(file: Path) -> bool:
    if file.suffix == ".csv":
        return False
    with file.open(encoding="utf-8") as lines:
        first = lines.readline()
    try:
        return isinstance(one := json.loads(first or "null"), dict) and "kind" in one
    except json.JSONDecodeError:
        return False


def _complain(problems: list[Problem]) -> None:
    for problem in problems[:_PROBLEMS_SHOWN]:
        typer.echo(f"row {problem.row}: {problem.reason}", err=True)
    if len(problems) > _PROBLEMS_SHOWN:
        typer.echo(f"... and {len(problems) - _PROBLEMS_SHOWN:,} more", err=True)
