"""The `sotto` command: one file a subcommand, registered here and nowhere else.

A subcommand's file offers ``command`` (a function) or ``app`` (a typer application of several). It imports heavy
libraries inside its functions, so that ``sotto --help`` stays fast.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from assistant.cli import catalogue, chat, device, doctor, keys, release, rollout, starter, up
from assistant.cli import eval as evaluation
from assistant.cli import round as rounds

DISTRIBUTION = "sotto-rec"

app = typer.Typer(
    help="Sotto: a conversational recommender that learns from its users without collecting their data.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # a traceback must never print a key or a conversation
)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    try:
        print(f"sotto {version(DISTRIBUTION)}")
    except PackageNotFoundError:
        print("sotto, from a source tree that is not installed")
    raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None: ...


app.command("up")(up.command)
app.command("chat")(chat.command)
app.command("doctor")(doctor.command)
app.add_typer(catalogue.app, name="catalogue")
app.add_typer(device.app, name="device")
app.add_typer(keys.app, name="keys")
app.add_typer(evaluation.app, name="eval")
app.add_typer(release.app, name="release")
app.add_typer(rollout.app, name="rollout")
app.add_typer(rounds.app, name="round")
app.add_typer(starter.app, name="starter")
