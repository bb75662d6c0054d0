"""`sotto chat`: a conversation with a running server in the terminal."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any
from unicodedata import category

import typer
from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from assistant.settings import Settings

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

    from assistant.cli.conversation import Conversation

HELP = """\
Say what you feel like watching, then go on: "something older", "less violent", "why the second one?"
/new   begin a new conversation     /help  show this
/quit  leave, also Ctrl-D           Ctrl-C stops a reply, twice leaves"""
CAST_SHOWN = 3
INTERRUPTED = 130

output = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def command(
    message: Annotated[str | None, typer.Argument(help="Ask this one thing and leave.", show_default=False)] = None,
    url: Annotated[
        str | None, typer.Option(help="Address of the server.", show_default="http://127.0.0.1:$SOTTO_PORT")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer to one message as JSON.")] = False,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="SOTTO_API_KEY", help="API key, where the server asks for one; better in the variable."),
    ] = None,
) -> None:
    """Talk to Sotto in the terminal.

    Without MESSAGE on a terminal it is a conversation; else it answers MESSAGE, or what is piped in, and leaves.
    The conversation is kept in memory only.
    """
    from assistant.cli.conversation import Conversation, ConversationError

    single = _single(message, as_json=as_json)
    try:
        conversation = Conversation(url or f"http://127.0.0.1:{Settings().port}", api_key)
        try:
            if single is None:
                _converse(conversation)
            elif as_json:
                typer.echo(json.dumps(conversation.ask(single), ensure_ascii=False, indent=2))
            else:
                _answer(conversation, single)
        finally:
            conversation.close()
    except ConversationError as error:
        _complain(error)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _single(message: str | None, *, as_json: bool) -> str | None:
    """The one message to answer, or None for a conversation."""
    if message is None and sys.stdin.isatty():
        if as_json:
            raise typer.BadParameter("--json answers one message: give MESSAGE, or pipe it in")
        return None
    text = (sys.stdin.read() if message is None else message).strip()
    if not text:
        raise typer.BadParameter("the message is empty: give MESSAGE, pipe it in, or run it in a terminal")
    return text


def _converse(conversation: Conversation) -> None:
    """Reads and answers messages until the person leaves."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import InMemoryHistory

    session: PromptSession[str] = PromptSession("› ", history=InMemoryHistory())
    output.print(HELP, style="dim", markup=False)
    interrupted = False
    while (text := _read(session, leaving=interrupted)) is not None:
        interrupted = False
        if text in ("/quit", "/exit"):
            return
        if text == "/new":
            conversation.clear()
            output.print("A new conversation.", style="dim")
        elif text.startswith("/"):
            output.print(HELP, style="dim", markup=False)
        elif text:
            interrupted = not _turn(conversation, text)


def _read(session: PromptSession[str], *, leaving: bool) -> str | None:
    """The next line, or None to leave: at Ctrl-D, and at a second Ctrl-C in a row."""
    while True:
        try:
            return session.prompt().strip()
        except EOFError:
            return None
        except KeyboardInterrupt:
            if leaving:
                return None
            leaving = True
            output.print("Ctrl-C again leaves, or Ctrl-D.", style="dim")


def _turn(conversation: Conversation, text: str) -> bool:
    """Answers one message of a conversation; False when Ctrl-C stopped the reply."""
    from assistant.cli.conversation import ConversationError

    try:
        _answer(conversation, text)
    except ConversationError as error:
        _complain(error)
    except KeyboardInterrupt:
        output.print("\nStopped. Ctrl-C again leaves.", style="dim")
        return False
    return True


def _answer(conversation: Conversation, text: str) -> None:
    """Prints the reply as it comes, then a card for each recommended item."""
    from assistant.cli.conversation import Reply

    reply = Reply()
    with closing(conversation.stream(text, reply)) as pieces:
        with output.status("Looking for what fits"):
            first = next(pieces, "")
        for piece in chain((first,), pieces):
            output.print(Text(printable(piece)), end="", soft_wrap=True)
    output.print()
    for pick in reply.recommendations:
        output.print(_card(pick, _record(conversation, pick["id"])))


def _record(conversation: Conversation, item_id: str) -> dict[str, Any]:
    from assistant.cli.conversation import ConversationError

    try:
        return conversation.item(item_id)
    except ConversationError:
        return {}


def _card(pick: dict[str, Any], item: dict[str, Any]) -> Panel:
    """A recommended item with what its record adds; ``item`` may be empty."""
    people = item.get("people", {})
    makers = ", ".join(people.get("director", people.get("author", ())))
    cast = ", ".join(people.get("cast", ())[:CAST_SHOWN])
    facts = [", ".join(filter(None, (makers, cast and f"with {cast}"))), ", ".join(item.get("genres", ()))]
    lines = [
        Text(printable(pick["reason"]), style="italic"),
        Text(printable(item.get("description", ""))),
        Text(printable(" · ".join(filter(None, facts))), style="dim"),
    ]
    year = f" ({pick['year']})" if pick["year"] is not None else ""
    title = Text(printable(f"{pick['rank']}. {pick['title']}{year}"), style="bold")
    return Panel(Group(*filter(None, lines)), title=title, title_align="left", width=min(output.width, 80))


def printable(text: str) -> str:
    """``text`` without control characters, which could move the cursor or rewrite what stands on the screen."""
    return "".join(character for character in text if character in "\n\t" or category(character) != "Cc")


def _complain(error: Exception) -> None:
    errors.print(Text(printable(str(error)), style="red"), soft_wrap=True)
