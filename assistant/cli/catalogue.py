"""`sotto catalogue`: imports, searches, shows and edits what can be recommended.

Results go to standard output, as tables or with ``--json`` for machines; progress and complaints go to standard error.
Exit codes: 0 done, 1 it could not be done or not all of it, 2 the command line is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assistant.cli.output import failure, print_facts, print_json, progress_bars

if TYPE_CHECKING:
    from rich.console import Console

    from retrieval.catalogue import Catalogue
    from retrieval.importing import Report
    from retrieval.item import Item
    from retrieval.search import Candidate, Library

app = typer.Typer(help="Import, search, show and edit the catalogue.", no_args_is_help=True)

BAD_ROWS_SHOWN = 20
SUGGESTIONS = 3
VALUES_SHOWN = 30
_ALIKE = 70.0
_YEARS = re.compile(r"^(\d{1,4})?(-|s)?(\d{1,4})?$")

Home = Annotated[Path | None, typer.Option(help="Folder of all state; SOTTO_HOME by default.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSONL, CSV or Parquet; .gz is read too.", show_default=False)],
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", help="FIELD=COLUMN, e.g. people.director=directors; repeatable.", show_default=False),
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="jsonl, csv or parquet; by the suffix otherwise.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Import nothing when any row is bad.")] = False,
    append: Annotated[bool, typer.Option("--append", help="Add to the catalogue instead of replacing it.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Replace the catalogue by the items of FILE; an interrupted import leaves it as it was."""
    from retrieval.importing import StrictImportError, import_file

    fields, form_read = _fields(mapping or []), _format(form)
    with _catalogue(home) as catalogue, progress_bars() as (console, progress):
        try:
            report = import_file(
                catalogue,
                file,
                form=form_read,
                fields=fields,
                strict=strict,
                append=append,
                progress=partial(progress, "reading"),
            )
        except StrictImportError as error:
            _list_bad_rows(error.report, console)
            raise
        except KeyboardInterrupt:
            console.print("Interrupted: the catalogue is as it was.")
            raise typer.Exit(130) from None
        _list_bad_rows(report, console)
        result = {"imported": report.good, "bad": report.bad, "items": len(catalogue), "attributes": report.attributes}
    if as_json:
        bad_rows = [{"line": row.line, "reason": row.reason} for row in report.bad_rows]
        print_json({**result, "bad_rows": bad_rows})
        return
    if report.attributes:
        console.print("Columns kept as attributes: " + ", ".join(report.attributes), style="dim")
    left_out = f", {report.bad:,} bad rows left out" if report.bad else ""
    print(f"Imported {report.good:,} items{left_out}; the catalogue holds {result['items']:,}.")


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What to look for, in plain words.", show_default=False)],
    year: Annotated[
        str | None, typer.Option(help="1980-1989, 1980-, -1989, 1980s or 1984.", show_default=False)
    ] = None,
    genre: Annotated[list[str] | None, typer.Option(help="All of these must hold.", show_default=False)] = None,
    person: Annotated[list[str] | None, typer.Option(help="One of these must be credited.", show_default=False)] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="So many results.")] = 10,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Find items by meaning, under hard constraints; when nothing fits, the nearest relaxation."""
    from pydantic import ValidationError

    from retrieval.wish import Wish

    first, last = _years(year)
    try:
        wish = Wish(genres=tuple(genre or ()), people=tuple(person or ()), year_from=first, year_to=last)
    except ValidationError as error:
        raise typer.BadParameter(str(error.errors()[0]["msg"])) from None
    with _library(home) as (library, console):
        found, relaxed = library.search_relaxed(wish, text, k)
    if as_json:
        results = [{"item": _fields_of(one.item), "score": one.score, "why": one.why} for one in found]
        print_json({"relaxed": relaxed, "results": results})
    elif not found:
        raise failure("nothing in the catalogue fits, however the wish is relaxed")
    else:
        if relaxed:
            console.print(f"Nothing fits exactly; these come nearest without {' and '.join(relaxed)}:")
        _print_candidates(found)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID|TITLE", help="An id or a title.", show_default=False)],
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Show one item in full."""
    with _catalogue(home) as catalogue:
        item = catalogue.get(name) or _titled(name, catalogue)
    fields = _fields_of(item)
    if as_json:
        print_json(fields)
    else:
        flat = fields.pop("people", {}) | fields.pop("attributes", {})
        shown = {**fields, **flat}.items()
        print_facts({name: ", ".join(map(str, one)) if isinstance(one, list) else str(one) for name, one in shown})


@app.command()
def stats(as_json: Json = False, home: Home = None) -> None:
    """Count the items by decade, genre, mood, country, language and kind."""
    with _catalogue(home) as catalogue:
        counts: dict[str, dict[Any, int]] = {"decades": catalogue.decade_counts(), **catalogue.facet_counts()}
        about = {
            "items": len(catalogue),
            "revision": catalogue.revision,
            "digest": catalogue.digest,
            "path": str(catalogue.path),
        }
    if as_json:
        print_json({**about, **counts})
        return
    shown = {name: f"{value:,}" if isinstance(value, int) else str(value) for name, value in about.items()}
    print_facts(shown | {name: _counted(held) for name, held in counts.items()})


@app.command()
def add(
    file: Annotated[typer.FileText, typer.Argument(metavar="FILE|-", help="One item as JSON.", show_default=False)],
    home: Home = None,
) -> None:
    """Add one item, or replace the one of the same id; the index follows at the next search."""
    from retrieval.mapping import BadItemError, RowReader

    try:
        row = json.load(file)
        if not isinstance(row, dict):
            raise failure("an item is a JSON object; `sotto catalogue import --append` takes files of many")
        item = RowReader().item(row)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise failure(f"{file.name} is not JSON: {error}") from None
    except BadItemError as error:
        raise failure(f"{file.name} is no item: {error}") from None
    with _catalogue(home) as catalogue:
        known = item.id in catalogue
        catalogue.put([item])
    print(f"{'Replaced' if known else 'Added'} {item.id}: {item.label}")


@app.command()
def remove(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", show_default=False)],
    home: Home = None,
) -> None:
    """Remove items; the index follows at the next search."""
    with _catalogue(home) as catalogue:
        missing = [item_id for item_id in ids if item_id not in catalogue]
        print(f"Removed {catalogue.remove(ids)}.")
    if missing:
        raise failure(f"not in the catalogue: {', '.join(missing)}")


@app.command()
def index(
    kind: Annotated[str, typer.Option(help="auto (by size), flat, ivf, ivfpq or hnsw.")] = "auto",
    home: Home = None,
) -> None:
    """Bring the vector index up to date with the catalogue, or build it again where it cannot be used."""
    from typing import get_args

    from retrieval.ann import Kind

    kinds = ("auto", *get_args(Kind))
    if kind not in kinds:
        raise typer.BadParameter(f"{kind} is none of {', '.join(kinds)}", param_hint="--kind")
    with _library(home, kind) as (library, _):
        print(f"The index is {library.index.kind} and holds {len(library.index):,} items.")


def _home(home: Path | None) -> Path:
    from assistant.settings import Settings

    return (home or Settings().home).expanduser()


@contextmanager
def _complaints(*more: type[Exception]) -> Iterator[None]:
    """Turns errors of catalogue and import, and ``more``, into a message and exit code 1."""
    from retrieval.catalogue import CatalogueError
    from retrieval.rows import ImportFileError

    expected: tuple[type[Exception], ...] = (CatalogueError, ImportFileError, *more)
    try:
        yield
    except expected as error:
        raise failure(error) from None


@contextmanager
def _library(home: Path | None, kind: Any = "auto") -> Iterator[tuple[Library, Console]]:
    """Catalogue and index, made or brought up to date first; and a console for remarks."""
    from retrieval.encoder import EncoderError
    from retrieval.index_files import IndexFault
    from retrieval.search import Library

    with _complaints(EncoderError, IndexFault), progress_bars() as (console, progress):
        yield Library.open(_home(home), progress=progress, kind=kind), console


@contextmanager
def _catalogue(home: Path | None) -> Iterator[Catalogue]:
    """The catalogue, filled with the bundled films on first use."""
    from retrieval.bundled import open_catalogue

    with _complaints(), open_catalogue(_home(home)) as catalogue:
        yield catalogue


def _fields(mapping: list[str]) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in mapping]
    if wrong := [field + sign + column for field, sign, column in pairs if not (field and column)]:
        raise typer.BadParameter(f"{wrong[0]!r} is not FIELD=COLUMN", param_hint="--map")
    return {field: column for field, _, column in pairs}


def _format(form: str | None) -> Any:
    from retrieval.rows import FORMATS

    if form is not None and form not in FORMATS:
        raise typer.BadParameter(f"{form} is none of {', '.join(FORMATS)}", param_hint="--format")
    return form


def _years(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    match = _YEARS.match(text.strip())
    if match is None or not (match[1] or match[3]) or (match[2] == "s" and (not match[1] or match[3])):
        raise typer.BadParameter(f"{text!r} is not like 1980-1989, 1980-, -1989, 1980s or 1984", param_hint="--year")
    first, sign, last = int(match[1]) if match[1] else None, match[2], int(match[3]) if match[3] else None
    if sign == "s" and first is not None:
        return first, first + 9
    return first, last if sign else first


def _titled(title: str, catalogue: Catalogue) -> Item:
    """The best known item of that title, in any spelling of case, accents and punctuation."""
    from rapidfuzz import process

    from retrieval.folding import fold

    folded, labels = fold(title), {}
    found: list[Item] = []
    for item in catalogue:
        if folded in {fold(item.title), fold(item.label), fold(item.original_title or "")}:
            found.append(item)
        labels[item.id] = item.label
    if found:
        return max(found, key=lambda item: item.popularity)
    near = process.extract(title, labels, processor=fold, limit=SUGGESTIONS, score_cutoff=_ALIKE)
    hint = f"; did you mean {', '.join(f'{label} ({item_id})' for label, _, item_id in near)}?" if near else ""
    raise failure(f"nothing in the catalogue has the id or title {title!r}{hint}")


def _counted(held: dict[Any, int]) -> str:
    most = list(held.items())[:VALUES_SHOWN]
    more = f", and {len(held) - len(most):,} more" if len(held) > len(most) else ""
    return ", ".join(f"{value} {count:,}" for value, count in most) + more


def _fields_of(item: Item) -> dict[str, Any]:
    return item.model_dump(mode="json", exclude_defaults=True) | {"kind": item.kind}


def _print_candidates(found: list[Candidate]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("score", "title", "genres", "about", box=None, padding=(0, 2, 0, 0))
    table.add_column("id", no_wrap=True)
    for one in found:
        cells = (f"{one.score:.2f}", one.item.label, ", ".join(one.item.genres), one.item.description, one.item.id)
        table.add_row(*(Text(cell) for cell in cells))
    Console().print(table)


def _list_bad_rows(report: Report, console: Console) -> None:
    for row in report.bad_rows[:BAD_ROWS_SHOWN]:
        console.print(str(row))
    if report.bad > BAD_ROWS_SHOWN:
        console.print(f"... and {report.bad - BAD_ROWS_SHOWN:,} more bad rows (--json lists up to a thousand)")
