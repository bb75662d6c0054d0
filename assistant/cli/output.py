"""What subcommands print: progress and complaints on standard error, JSON and tables of facts on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

Steps = Callable[[str, int, int], None]
"""Called with the name of a step, how much of it is done, and how much there is."""


def failure(what: str | Exception) -> typer.Exit:
    """Says on standard error what went wrong; raise what it returns to leave with exit code 1."""
    typer.echo(f"sotto: {what if isinstance(what, str) else plainly(what)}", err=True)
    return typer.Exit(1)


def plainly(error: Exception) -> str:
    """What ``error`` says to people: of an error of the system without its number, of one of pydantic's the first."""
    import pydantic

    if isinstance(error, pydantic.ValidationError):
        found = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, found["loc"]))
        message = found["msg"].removeprefix("Value error, ")
        return f"{place}: {message}" if place else message
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    return str(error)


def print_json(value: object) -> None:
    """``value`` on standard output: one line, or indented on a terminal."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None)
    print()


def print_facts(facts: Mapping[str, str]) -> None:
    """Names and values as two columns."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    table = Table("", Column(overflow="fold"), show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in facts.items():
        table.add_row(Text(name, "dim"), Text(value))
    Console().print(table)


@contextmanager
def progress_bars() -> Iterator[tuple[Console, Steps]]:
    """A console on standard error and a callback that moves a bar for each step; no bars but on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def step(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name)
            bars.update(tasks[name], completed=done, total=total)

        yield console, step
