"""`sotto chat` against a real server with a scripted dialogue."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator

import pytest
import typer
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from starlette.applications import Starlette
from typer.testing import CliRunner

from assistant.cli import chat
from assistant.dialogue.types import Adapter, Plan, Recommendation, Text
from assistant.errors import EngineUnavailable
from retrieval.wish import Wish
from tests.api.fakes import DONE, PLAN, REPLY, SCRIPT, ScriptedAssistant, app_with, new_key, served

APP = typer.Typer()
APP.command()(chat.command)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, ScriptedAssistant]]:
    assistant = ScriptedAssistant()
    with served(app_with(assistant)) as url:
        yield url, assistant


@pytest.fixture
def assistant(server: tuple[str, ScriptedAssistant]) -> ScriptedAssistant:
    scripted = server[1]
    scripted.script, scripted.closed = SCRIPT, 0
    scripted.requests.clear()
    return scripted


@pytest.fixture
def url(server: tuple[str, ScriptedAssistant]) -> str:
    return server[0]


def run(*arguments: str, typed: str | None = None):
    return CliRunner().invoke(APP, arguments, input=typed)


@pytest.fixture
def converse(monkeypatch, url, capsys):
    """Runs a conversation of the given keys, as on a terminal; gives what it printed."""

    def typed(keys: str) -> str:
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
        with create_pipe_input() as keyboard, create_app_session(input=keyboard, output=DummyOutput()):
            keyboard.send_text(keys)
            chat.command(url=url)
        captured = capsys.readouterr()
        return captured.out + captured.err

    return typed


def test_a_message_is_answered_with_cards(assistant, url):
    result = run("Something like Alien", "--url", url)
    assert result.exit_code == 0
    for text in (
        "".join(REPLY),
        "1. Alien (1979)",
        "dread in deep space",
        "distress call",
        "Ridley Scott",
        "2. Solaris",
    ):
        assert text in result.stdout


def test_a_piped_message_is_answered(assistant, url):
    assert run("--url", url, typed="Something like Alien\n").exit_code == 0
    assert assistant.requests[0].messages[0].content == "Something like Alien"


def test_json_is_the_servers_answer(assistant, url):
    answer = json.loads(run("Something like Alien", "--url", url, "--json").stdout)
    assert answer["recommendations"][0]["title"] == "Alien"
    assert answer["choices"][0]["message"]["content"] == "".join(REPLY)


def test_an_empty_message_is_refused(url):
    result = run("--url", url, typed="")
    assert (result.exit_code, "empty" in result.stderr) == (2, True)


def test_json_needs_a_message(monkeypatch, url):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    with pytest.raises(typer.BadParameter, match="one message"):
        chat.command(url=url, as_json=True)


def test_no_server_is_a_clear_error():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nothing answers there
        result = run("hello", "--url", f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert result.exit_code == 1
    assert "make run" in result.stderr


@pytest.mark.parametrize("address", ["127.0.0.1:8000", "ftp://x", "http://[::1"])
def test_an_address_that_is_none_is_a_clear_error(address):
    result = run("hello", "--url", address)
    assert (result.exit_code, "is no address" in result.stderr) == (1, True)


def test_another_server_at_the_address_is_told_apart():
    with served(Starlette()) as elsewhere:
        result = run("hello", "--url", elsewhere)
    assert (result.exit_code, "is not Sotto" in result.stderr) == (1, True)


@pytest.mark.parametrize("before", [[], [PLAN, Text("Two")]], ids=["at once", "in the middle"])
def test_an_error_of_the_server_is_shown(assistant, url, before):
    assistant.script = [*before, EngineUnavailable("The engine is starting.")]
    result = run("hello", "--url", url)
    assert (result.exit_code, result.stderr.strip()) == (1, "The engine is starting.")


def test_control_characters_of_the_model_and_the_catalogue_are_left_out(assistant, url):
    pick = Recommendation(id="none", title="A\x1b[2Jb", year=None, rank=1, score=1.0, reason="c\x9b2Jd [red]")
    assistant.script = [Plan("recommend", Wish(), (pick,), (), "r", Adapter()), Text("e\x1b]0;f\x07g [bold]"), DONE]
    result = run("hello", "--url", url)
    for text in ("1. A[2Jb", "c2Jd [red]", "e]0;fg [bold]"):
        assert text in result.stdout


def test_a_conversation_goes_on_and_begins_anew(assistant, converse):
    assistant_said = "".join(REPLY)
    printed = converse("Something like Alien\nolder\n/new\nA comedy\n/what\n/quit\n")

    said = [[message.content for message in turn.messages] for turn in assistant.requests]
    assert said == [["Something like Alien"], ["Something like Alien", assistant_said, "older"], ["A comedy"]]
    assert [turn.wish for turn in assistant.requests] == [None, PLAN.wish, None]
    assert printed.count(assistant_said) == 3
    assert printed.count("/quit") == 2


def test_after_an_error_the_message_can_be_sent_again(assistant, converse):
    assistant.script = [PLAN, Text("Two"), EngineUnavailable("The engine is starting.")]
    assert converse("one\ntwo\n\x04").count("The engine is starting.") == 2
    assert [message.content for message in assistant.requests[1].messages] == ["two"]


def test_ctrl_c_twice_leaves(converse):
    assert "Ctrl-C again leaves" in converse("\x03\x03")


def test_a_key_is_sent_where_the_server_asks_for_one(monkeypatch):
    app = app_with(ScriptedAssistant())
    key = new_key(app)
    with served(app) as url:
        refused = run("hello", "--url", url)
        assert (refused.exit_code, "SOTTO_API_KEY" in refused.stderr) == (1, True)
        assert "".join(REPLY) in run("hello", "--url", url, "--api-key", key).stdout
        monkeypatch.setenv("SOTTO_API_KEY", key)
        assert "".join(REPLY) in run("hello", "--url", url).stdout
