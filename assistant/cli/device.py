"""`sotto device`: what this device keeps of its person, in a private store that nothing leaves but by this command.

Works on the files in SOTTO_HOME alone: no server needs to run, and nothing here opens a connection. What a person said
goes to standard output of ``export``, and nowhere else. What is learned of it is in `assistant.cli.device_personal`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from assistant.cli import device_personal
from assistant.cli.device_personal import Home, Json, home_of
from assistant.cli.output import failure, print_facts, print_json, progress_bars

if TYPE_CHECKING:
    from rich.console import Console

    from federation.device.history import History, Rows
    from federation.device.store import EventStore, Status

app = typer.Typer(
    help="Import, show, export, prune and delete what this device keeps of its person, and learn from it.",
    no_args_is_help=True,
)

ROWS_SHOWN = 20

app.command("tune")(device_personal.tune)
app.command("prompt")(device_personal.prompt)
app.command("adapter")(device_personal.adapter)


@app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="MovieLens' ratings.csv or its folder, JSON Lines, CSV, or an export of a device.",
            exists=True,
            show_default=False,
        ),
    ],
    user: Annotated[
        str | None, typer.Option(help="Whose ratings, where MovieLens' file holds several people's.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Import nothing when any row is bad.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Import a person's own history; importing it again changes nothing."""
    from federation.device.history import exported_rows

    with _store(home) as store:
        exported = None if file.is_dir() else exported_rows(file)
        if exported is not None:
            result: dict[str, Any] = {"records": store.load(exported)}
            said = f"Took in {result['records']:,} records that were not here yet."
        else:
            history = _history(file, home, user, strict=strict)
            result = {"events": len(history.events), "new": store.add_events(history.events)}
            result |= {"bad": history.bad.count, "unknown": history.unknown.count}
            result |= {"bad_rows": _rows(history.bad), "unknown_rows": _rows(history.unknown)}
            said = f"Imported {len(history.events):,} events, {result['new']:,} of them new."
    if as_json:
        print_json(result)
    else:
        print(said)


@app.command()
def status(as_json: Json = False, home: Home = None) -> None:
    """Show how much is kept, never what, and how good the personal pair is."""
    with _store(home) as store:
        found = store.status()
    personal = device_personal.status(home_of(home))
    if as_json:
        print_json({**asdict(found), "personal": personal})
    else:
        print_facts({**_facts(found), **device_personal.facts(personal)})


@app.command()
def export(
    out: Annotated[
        Path | None, typer.Option(help="File to write, for its owner alone; standard output without.")
    ] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Write everything as JSON Lines; `sotto device import` reads it back."""
    with _store(home) as store:
        if out is None:
            _write(store, sys.stdout)
            return
        with _new_file(out) as file:
            written = _write(store, file)
    if as_json:
        print_json({"records": written, "path": str(out)})
    else:
        print(f"Wrote {written:,} records to {out}.")


@app.command()
def prune(
    events: Annotated[
        int | None, typer.Option(min=0, help="Most events to keep, the newest.", show_default=False)
    ] = None,
    turns: Annotated[
        int | None, typer.Option(min=0, help="Most turns of conversations to keep.", show_default=False)
    ] = None,
    impressions: Annotated[
        int | None, typer.Option(min=0, help="Most impressions to keep.", show_default=False)
    ] = None,
    days: Annotated[
        float | None, typer.Option(min=0, help="Keep nothing that is older than so many days.", show_default=False)
    ] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Delete the oldest, for good."""
    from federation.device.store import Bounds

    given = {"events": events, "turns": turns, "impressions": impressions, "days": days}
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if not chosen:
        raise typer.BadParameter("say what to keep: --events, --turns, --impressions or --days")
    with _store(home) as store:
        gone = store.prune(Bounds(**chosen))
    _print_gone(gone, as_json=as_json)


@app.command()
def delete(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Delete everything, the personal pair too, for good: its bytes leave the disk's files."""
    from federation.device.store import STORE_PATH, StoreDamaged, destroy

    place = home_of(home)
    gone: dict[str, Any]
    with _told():
        try:
            gone = _delete(place, yes=yes)
        except StoreDamaged as error:
            typer.echo(f"sotto: {str(error).partition('. ')[0]}.", err=True)
            if not yes:
                typer.confirm("Delete its files, and the personal pair, for good?", abort=True, err=True)
            destroy(place / STORE_PATH)
            gone = {"damaged": 1}
        gone["personal"] = device_personal.forget(place)
    if as_json:
        print_json(gone)
    else:
        what = "the damaged store" if "damaged" in gone else _counted(gone, but="personal")
        print(f"Deleted {what}{' and the personal pair' if gone['personal'] else ''}.")


def _delete(home: Path, *, yes: bool) -> dict[str, Any]:
    from federation.device.store import EventStore

    with EventStore.at_home(home) as store:
        if not yes:
            every = f"{_counted(store.counts())} and the personal pair"
            typer.confirm(f"Delete all of {every} for good?", abort=True, err=True)
        return dict(store.delete())


def _history(file: Path, home: Path | None, user: str | None, *, strict: bool) -> History:
    """The history in ``file``, linked to the catalogue; bad rows are listed on standard error."""
    from federation.device.history import TitleLinker, read_history
    from retrieval.bundled import open_catalogue

    with progress_bars() as (console, progress), open_catalogue(home_of(home)) as catalogue:
        history = read_history(file, TitleLinker(catalogue), user=user, progress=partial(progress, "reading"))
        _list(history.bad, console)
        _list(history.unknown, console)
    if strict and history.bad.count:
        raise failure(f"{history.bad.count:,} bad rows and --strict: nothing was imported.")
    return history


@contextmanager
def _store(home: Path | None) -> Iterator[EventStore]:
    """The store in force; what goes wrong becomes a message and exit code 1."""
    from federation.device.store import EventStore

    with _told(), EventStore.at_home(home_of(home)) as store:
        yield store


@contextmanager
def _told() -> Iterator[None]:
    from federation.device.records import RecordError
    from federation.device.store import StoreError
    from retrieval.database import CatalogueError
    from retrieval.rows import ImportFileError

    try:
        yield
    except BrokenPipeError:  # whoever reads the export has had enough
        raise
    except (StoreError, RecordError, CatalogueError, ImportFileError, OSError) as error:
        raise failure(error) from None


def _write(store: EventStore, file: IO[str]) -> int:
    """Writes the export to ``file``; how many records it has, the header apart."""
    lines = 0
    for lines, row in enumerate(store.export(), 1):  # noqa: B007
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return lines - 1


@contextmanager
def _new_file(path: Path) -> Iterator[IO[str]]:
    """The file at ``path``, new and for its owner alone; gone again where an error passes through."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise failure(f"{path} is there already, and nothing is written over: choose another name.") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yield file
    except BaseException:
        path.unlink()
        raise


def _rows(rows: Rows) -> list[dict[str, Any]]:
    return [asdict(row) for row in rows.listed]


def _list(rows: Rows, console: Console) -> None:
    for row in rows.listed[:ROWS_SHOWN]:
        console.print(str(row))
    if rows.count > ROWS_SHOWN:
        console.print(f"... and {rows.count - ROWS_SHOWN:,} more of these (--json lists up to a thousand)")


def _facts(found: Status) -> dict[str, str]:
    times = {"oldest event": found.oldest, "newest event": found.newest}
    return {
        **{name: f"{count:,}" for name, count in found.counts.items()},
        **{name: "none" if at is None else time.strftime("%Y-%m-%d", time.gmtime(at)) for name, at in times.items()},
        "size": f"{found.bytes / 1e6:,.2f} MB",
        "file": found.path,
    }


def _counted(counts: dict[str, int], but: str = "") -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if name != but)


def _print_gone(gone: dict[str, int], *, as_json: bool) -> None:
    if as_json:
        print_json(gone)
    else:
        print(f"Deleted {_counted(gone)}.")
