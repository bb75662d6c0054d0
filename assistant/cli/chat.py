"""`sotto chat`: a conversation with a running server in the terminal."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from unicodedata import category

import typer
from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from assistant.cli.device_personal import Home, home_of, rows, with_soft_prompt
from assistant.settings import Settings

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

    from assistant.cli.conversation import Conversation, Reply
    from assistant.cli.keeping import Keeper
    from assistant.cli.verdicts import Verdicts
    from federation.device.base import Verdict

HELP = """\
Say what you feel like watching, then go on: "something older", "less violent", "why the second one?"
/like 2, /dislike 2, /seen 2           your verdict on number 2; /like and /dislike alone: on all of them
/undo  take the last verdict back      the server learns "accepted" or "rejected", never of what
/new   begin a new conversation        /help  show this
/quit  leave, also Ctrl-D              Ctrl-C stops a reply, twice leaves"""
KEPT = "Kept on this device alone, in {path}: --no-keep turns that off, `sotto device delete` deletes it.\n"
NOT_KEPT = "Nothing of this conversation is kept.\n"
JUDGING: dict[str, Verdict] = {"/like": "liked", "/dislike": "disliked", "/seen": "seen"}
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
    keep: Annotated[
        bool, typer.Option("--keep/--no-keep", help="Keep a conversation in this device's private store, or not.")
    ] = True,
    personal: Annotated[
        bool,
        typer.Option("--personal", help="Send this device's personal soft prompt, and its cohort, with each message."),
    ] = False,
    home: Home = None,
) -> None:
    """Talk to Sotto in the terminal.

    Without MESSAGE on a terminal it is a conversation; else it answers MESSAGE, or what is piped in, and leaves.
    A conversation is kept in this device's private store (`sotto device`), a single message nowhere.
    """
    from assistant.cli.conversation import Conversation, ConversationError, Reply
    from assistant.cli.keeping import Keeper

    single = _single(message, as_json=as_json)
    keeper = Keeper(home_of(home) if keep and single is None else None, _complain)
    extra = _own(home) if personal else {}
    try:
        conversation = Conversation(
            url or f"http://127.0.0.1:{Settings().port}", api_key, {**extra, "lesson": keeper.path is not None}
        )
        try:
            if single is None:
                _converse(conversation, keeper)
            elif as_json:
                typer.echo(json.dumps(conversation.ask(single), ensure_ascii=False, indent=2))
            else:
                _answer(conversation, single, Reply())
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


def _own(home: Path | None) -> dict[str, Any]:
    """What a request takes along of the person's own pair: its soft prompt, and the cohort that it stands on."""
    own = with_soft_prompt(home)
    return {"soft_prompt": rows(own), "cohort": own.ground.cohort}


def _converse(conversation: Conversation, keeper: Keeper) -> None:
    """Reads and answers messages until the person leaves."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import InMemoryHistory

    from assistant.cli.verdicts import Verdicts

    session: PromptSession[str] = PromptSession("› ", history=InMemoryHistory())
    verdicts = Verdicts(conversation, keeper)
    _say(KEPT.format(path=keeper.path) if keeper.path else NOT_KEPT)
    _say(HELP)
    interrupted = False
    while (text := _read(session, leaving=interrupted)) is not None:
        interrupted = False
        if text in ("/quit", "/exit"):
            return
        if text == "/new":
            conversation.begin()
            keeper.begin()
            verdicts.begin()
            _say("A new conversation.")
        elif text.startswith("/"):
            interrupted = not _command(verdicts, text)
        elif text:
            interrupted = not _turn(conversation, keeper, verdicts, text)


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
            _say("Ctrl-C again leaves, or Ctrl-D.")


def _turn(conversation: Conversation, keeper: Keeper, verdicts: Verdicts, text: str) -> bool:
    """Answers one message of a conversation, and keeps what was said; False when Ctrl-C stopped the reply."""
    from assistant.cli.conversation import ConversationError, Reply

    reply, at, stopped = Reply(), time.time(), False
    try:
        _answer(conversation, text, reply)
    except ConversationError as error:
        _complain(error)
    except KeyboardInterrupt:
        _say("\nStopped. Ctrl-C again leaves.")
        stopped = True
    if reply.complete or stopped:  # else nothing counts as said
        keeper.turn(text, at, reply)
    verdicts.show(reply)
    return not stopped


def _command(verdicts: Verdicts, text: str) -> bool:
    """Does what a line that begins with a slash says; False when Ctrl-C stopped it."""
    from assistant.cli.verdicts import VerdictError

    name, _, number = text.partition(" ")
    try:
        if name in JUDGING:
            _say(verdicts.give(JUDGING[name], number.strip()))
        elif name == "/undo":
            _say(verdicts.undo())
        else:
            _say(HELP)
    except VerdictError as error:
        _complain(error)
    except KeyboardInterrupt:
        _say("Stopped. Ctrl-C again leaves.")
        return False
    return True


def _answer(conversation: Conversation, text: str, reply: Reply) -> None:
    """Prints the reply as it comes, then a card for each recommended item; ``reply`` is filled meanwhile."""
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


def _say(text: str) -> None:
    output.print(Text(printable(text), style="dim"), soft_wrap=True)


def _complain(error: Exception | str) -> None:
    errors.print(Text(printable(str(error)), style="red"), soft_wrap=True)
