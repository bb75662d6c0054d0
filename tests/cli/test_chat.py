"""`sotto chat` against a real server with a scripted dialogue."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

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
from tests.api.fakes import DONE, PLAN, REPLY, SCRIPT, ScriptedAssistant, app_with, served

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


@pytest.mark.timeout(30)
def test_ctrl_c_stops_the_reply_and_the_generation(assistant, url):
    assistant.script = [PLAN, Text("Two that fit"), 60.0]
    # Opening the terminal makes it the new session's own, so that Ctrl-C on it becomes SIGINT.
    code = "import os; os.open(os.ttyname(0), os.O_RDWR)\n"
    code += "import typer; from assistant.cli.chat import command; typer.run(command)"
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--url", url],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
    )
    os.close(theirs)
    screen = Screen(ours)
    try:
        screen.find("›")
        os.write(ours, b"hello\r")
        screen.find("Two that fit")
        os.write(ours, b"\x03")
        screen.find("Stopped")
        screen.find("›")
        os.write(ours, b"\x03")
        assert process.wait(timeout=10) == 0
        deadline = time.monotonic() + 5
        while not assistant.closed and time.monotonic() < deadline:
            time.sleep(0.02)
        assert assistant.closed == 1
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@dataclass
class Screen:
    """What a program prints on its terminal, read on from where the last find ended."""

    terminal: int
    unread: bytes = b""

    def find(self, text: str) -> None:
        while text.encode() not in self.unread:
            self.unread += os.read(self.terminal, 4096)
        self.unread = self.unread.partition(text.encode())[2]
