"""`sotto keys`: makes, lists, rotates and revokes the API keys of a server.

Works on the state database itself, whether a server runs or not; a running one follows within seconds. A key goes to
standard output once, when it is made, and is kept nowhere.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assistant.cli.output import failure, print_json

if TYPE_CHECKING:
    from assistant.access.keys import Issued, Key, KeyStore

app = typer.Typer(help="Make, list, rotate and revoke API keys.", no_args_is_help=True)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,6})([smhd])")

Home = Annotated[Path | None, typer.Option(help="Folder of all state; SOTTO_HOME by default.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="As `sotto keys list` shows it.", show_default=False)]
Rate = Annotated[int | None, typer.Option(min=0, help="Instead of the server's; 0 for no limit.", show_default=False)]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is, or what for.", show_default=False)],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="chat, items, feedback, metrics or admin; repeatable. The first three when none is given.",
            show_default=False,
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it ends, from now: 45s, 90m, 12h, 30d. Never by default.")
    ] = None,
    requests_per_minute: Rate = None,
    tokens_per_minute: Rate = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Make a key and print it: this once, it cannot be shown again."""
    from assistant.access.keys import USUAL_SCOPES

    with _store(home) as store:
        issued = store.create(
            name,
            scope or USUAL_SCOPES,
            lifetime=None if expires is None else seconds(expires, "--expires"),
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        )
    _print_issued(issued, as_json=as_json)


@app.command("list")
def list_(as_json: Json = False, home: Home = None) -> None:
    """List the keys, never their secrets."""
    with _store(home) as store:
        keys = store.all()
    if as_json:
        print_json([_fields(key) for key in keys])
    elif keys:
        _print_table(keys)
    else:
        typer.echo("There are no keys: the server answers to its own machine only.", err=True)


@app.command()
def rotate(
    key_id: Id,
    grace: Annotated[str, typer.Option(help="How long the old secret stays good; 0s where it leaked.")] = "24h",
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Give a key a new secret and print it; its scopes and limits stay."""
    with _store(home) as store:
        issued = store.rotate(key_id, seconds(grace, "--grace"))
    _print_issued(issued, as_json=as_json)


@app.command()
def revoke(
    key_id: Id,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget", help="Drop it from the list too. With the last key gone, the server needs none on loopback."
        ),
    ] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """End a key for good: every server refuses it within seconds."""
    with _store(home) as store:
        key = store.revoke(key_id)
        if forget:
            store.forget(key_id)
    if as_json:
        print_json({**_fields(key), "forgotten": forget})
    else:
        print(f"{'Forgot' if forget else 'Revoked'} the key {key.id} ({key.name}).")


def seconds(text: str, option: str) -> int:
    """The seconds that ``text`` (90m, 30d) means; BadParameter names ``option``."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not like 45s, 90m, 12h or 30d", param_hint=option)
    return int(match[1]) * _UNITS[match[2]]


@contextmanager
def _store(home: Path | None) -> Iterator[KeyStore]:
    """The keys of the database in force; what goes wrong becomes a message and exit code 1."""
    from assistant.access.keys import KeyStore
    from assistant.errors import SottoError
    from assistant.settings import Settings
    from assistant.state.database import Database

    settings = Settings() if home is None else Settings(home=home)
    try:
        with Database.of(settings) as database:
            yield KeyStore(database)
    except SottoError as error:
        raise failure(error) from None


def _print_issued(issued: Issued, *, as_json: bool) -> None:
    if as_json:
        print_json({**_fields(issued.key), "key": issued.token})
        return
    print(issued.token)
    ends = "" if issued.key.expires_at is None else f" It ends {_when(issued.key.expires_at)}."
    scopes = ", ".join(sorted(issued.key.scopes))
    typer.echo(f"Keep it: it is not shown again. Its id is {issued.key.id}, its scopes are {scopes}.{ends}", err=True)


def _fields(key: Key) -> dict[str, Any]:
    names = ("id", "name", "created_at", "expires_at", "revoked_at", "last_used_at", "previous_until")
    rates = ("requests_per_minute", "tokens_per_minute")
    shown = {name: getattr(key, name) for name in (*names, *rates)}
    return {**shown, "scopes": sorted(key.scopes), "state": key.state(time.time())}


def _print_table(keys: list[Key]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("id", "name", "scopes", "state", "ends", "last used", "a minute", box=None, padding=(0, 2, 0, 0))
    for key in keys:
        rates = ((key.requests_per_minute, "requests"), (key.tokens_per_minute, "tokens"))
        limits = ", ".join(f"{rate:,} {kind}" if rate else f"any {kind}" for rate, kind in rates if rate is not None)
        cells = (
            *(key.id, key.name, " ".join(sorted(key.scopes)), key.state(time.time())),
            *(_when(key.expires_at, "never"), _when(key.last_used_at, "not yet"), limits or "as usual"),
        )
        table.add_row(*map(Text, cells))
    Console().print(table)


def _when(at: int | None, otherwise: str = "") -> str:
    return otherwise if at is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
