"""What `sotto chat` keeps on the person's device, what it tells the server, and what a failure of either does."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from click.testing import Result
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from typer.testing import CliRunner

from assistant.cli import chat
from assistant.cli.conversation import Conversation, ConversationError, Reply
from assistant.cli.keeping import Keeper
from assistant.cli.verdicts import Shown, VerdictError, Verdicts
from assistant.dialogue.types import Lesson, LessonReply, Text
from assistant.errors import EngineUnavailable
from federation.device.base import Event
from federation.device.dual import Ground, Personal, PersonalFiles
from federation.device.experience import Experience, lessons
from federation.device.records import Judgement
from federation.device.store import STORE_PATH, EventStore
from federation.tensors import SOFT_PROMPT
from retrieval.wish import Wish
from tests.api.fakes import DONE, PLAN, SCRIPT, ScriptedAssistant, app_with, served
from tests.api.whole import SteadyEngine, whole_app
from tests.retrieval.films import FILMS

APP = typer.Typer()
APP.command()(chat.command)
TOLD = LessonReply(task="recommend", message="dark", text="Two that fit: [1] and [2].", slots=("[genre]",))
LESSON = Lesson(candidates=("alien-1979", "solaris-1972", "stalker-1979"), reply=TOLD)
TAUGHT = (*SCRIPT[:-1], replace(DONE, lesson=LESSON))
FIRST, SECOND = "alien-1979", "solaris-1972"


class Feedback:
    """Takes the verdicts that come to the server, as it would."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []

    def judge(self, recommendation_id: str, verdict: str) -> None:
        self.taken.append((recommendation_id, verdict))


@pytest.fixture
def assistant() -> ScriptedAssistant:
    return ScriptedAssistant(TAUGHT)


@pytest.fixture
def url(assistant: ScriptedAssistant) -> Iterator[str]:
    with served(app_with(assistant)) as url:
        yield url


@pytest.fixture
def feedback(monkeypatch: pytest.MonkeyPatch) -> Feedback:
    """Instead of the server, which knows a scripted recommendation's id for none of its own."""
    taken = Feedback()
    monkeypatch.setattr(Conversation, "judge", lambda _, *given: taken.judge(*given))
    return taken


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The chat requests that are sent."""
    requests: list[dict[str, Any]] = []
    made = Conversation._request

    def noted(self: Conversation, message: str, *, stream: bool) -> dict[str, Any]:
        requests.append(made(self, message, stream=stream))
        return requests[-1]

    monkeypatch.setattr(Conversation, "_request", noted)
    return requests


@pytest.fixture
def converse(monkeypatch: pytest.MonkeyPatch, url: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a conversation of the given keys, as on a terminal; gives what it printed."""

    def typed(keys: str, at: str = url, **options: Any) -> str:
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
        with create_pipe_input() as keyboard, create_app_session(input=keyboard, output=DummyOutput()):
            keyboard.send_text(keys)
            chat.command(url=at, **options)
        captured = capsys.readouterr()
        return " ".join((captured.out + captured.err).split())

    return typed


def test_turns_the_impression_and_verdicts_are_kept(
    converse: Callable[..., str], feedback: Feedback, own_home: Path
) -> None:
    before = time.time()
    printed = converse("dark\nolder\n/like 1\n/seen 2\n/new\ndark\n/quit\n")
    assert "Liked: Alien. Seen: Solaris." in printed
    with EventStore.at_home(own_home) as store:
        first, second = store.conversations()
        assert [(turn.role, turn.text) for turn in first.turns] == [
            ("user", "dark"),
            ("assistant", "Two that fit: Alien (1979) and Solaris (1972)."),
            ("user", "older"),
            ("assistant", "Two that fit: Alien (1979) and Solaris (1972)."),
        ]
        assert second.turns[0].text == "dark"
        (impression,) = store.impressions()
        verdicts = store.verdicts()
    assert (impression.id, impression.shown) == ("rec-1", (FIRST, SECOND))
    assert impression.candidates == LESSON.candidates
    assert Wish.model_validate(impression.wish) == PLAN.wish
    assert impression.reply is not None
    assert (impression.reply.text, impression.reply.slots) == (TOLD.text, TOLD.slots)
    assert [(one.item, one.impression, one.verdict) for one in verdicts] == [
        (FIRST, "rec-1", "liked"),
        (SECOND, "rec-1", "seen"),
    ]
    times = [*(turn.at for turn in first.turns), verdicts[0].at, verdicts[1].at, time.time()]
    assert times == sorted(times)
    assert before < times[0] < impression.at < verdicts[0].at
    assert feedback.taken == [("rec-1", "accepted")]


def test_the_first_line_says_where_it_is_kept_and_how_not(converse: Callable[..., str], own_home: Path) -> None:
    printed = converse("/quit\n")
    for said in (str(own_home / STORE_PATH), "on this device alone", "--no-keep", "sotto device delete"):
        assert said in printed
    assert not (own_home / STORE_PATH).exists(), "nothing was said"


def test_another_home_is_kept_in(converse: Callable[..., str], own_home: Path, tmp_path: Path) -> None:
    converse("dark\n/quit\n", home=tmp_path / "other")
    with EventStore.at_home(tmp_path / "other") as store:
        assert store.counts()["turns"] == 2
    assert not (own_home / STORE_PATH).exists()


def test_no_keep_writes_no_file_and_asks_for_no_lesson(
    converse: Callable[..., str], feedback: Feedback, own_home: Path, sent: list[dict[str, Any]]
) -> None:
    printed = converse("dark\n/dislike\n/undo\n/quit\n", keep=False)
    assert "Nothing of this conversation is kept." in printed
    assert "Disliked: all of the recommendation. It is not kept. Taken back: disliked, all of" in printed
    assert "still" not in printed
    assert feedback.taken == [("rec-1", "rejected"), ("rec-1", "withdrawn")]
    assert not sent[0]["lesson"]
    assert not (own_home / STORE_PATH.parent).exists()


@pytest.mark.parametrize("typed", [None, "dark\n"])
def test_a_single_message_is_not_kept(url: str, own_home: Path, typed: str | None) -> None:
    result = CliRunner().invoke(APP, ["--url", url, *([] if typed else ["dark"])], input=typed)
    assert result.exit_code == 0
    assert not (own_home / STORE_PATH.parent).exists()


def test_of_a_verdict_the_server_gets_the_id_and_a_word(
    converse: Callable[..., str], own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the real server, which reads its own ids and counts."""
    bodies: list[bytes] = []
    app = whole_app(tmp_path / "server", SteadyEngine())

    async def spied(scope: Any, receive: Any, send: Any) -> None:
        async def heard() -> Any:
            message = await receive()
            if scope.get("path") == "/v1/feedback" and message["type"] == "http.request":
                bodies.append(message["body"])
            return message

        await app(scope, heard, send)

    with served(spied) as url:  # type: ignore[arg-type]
        printed = converse("horror please\n/like 2\n/dislike 1\n/undo\n/undo\n/quit\n", url)
    assert "not told" not in printed
    with EventStore.at_home(own_home) as store:
        (impression,), verdicts = store.impressions(), store.verdicts()
    assert verdicts == []
    assert bodies == [
        b'{"recommendation_id":"%s","verdict":"%s"}' % (impression.id.encode(), word)
        for word in (b"accepted", b"withdrawn")
    ]


def test_what_was_kept_is_a_lesson_in_replies(converse: Callable[..., str], own_home: Path, tmp_path: Path) -> None:
    said = "Start with [1]. Then see [2]."
    with served(whole_app(tmp_path / "server", SteadyEngine(reply=said))) as url:
        converse("horror please\n/like 1\n/quit\n", url)
    ids = [item.id for item in FILMS]
    with EventStore.at_home(own_home) as store:
        (impression,) = store.impressions()
        met = [one for one in ids if one not in impression.candidates][:4]
        # A history before, and a validation and a test event behind.
        times = (1.0, 2.0, time.time() + 1, time.time() + 2)
        store.add_events(Event(at, item, "liked") for at, item in zip(times, met, strict=True))
        found = lessons(Experience.of(store), {item.id: item for item in FILMS}, "own", [0], negatives=3)
    (reply,) = found.replies
    assert (reply.reply.text, reply.reply.message) == (said, "horror please")
    assert reply.wish.genres == ("horror",)
    assert {one.id for one in found.choices[-1].candidates} == set(impression.shown)


def test_a_server_that_is_gone_is_told_of_and_the_verdict_kept(
    converse: Callable[..., str], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise ConversationError("No server answers.")

    monkeypatch.setattr(Conversation, "judge", gone)
    printed = converse("dark\n/dislike 2\n/quit\n")
    assert "Disliked: Solaris. The server was not told: No server answers." in printed
    with EventStore.at_home(own_home) as store:
        (kept,) = store.verdicts()
    assert kept == Judgement(kept.at, "disliked", SECOND, "rec-1")


def test_a_server_that_refuses_the_verdict_is_told_of(converse: Callable[..., str]) -> None:
    """A scripted recommendation's id is none of the server's own."""
    assert "Liked: all of the recommendation. The server was not told: This is no recommendation_id" in converse(
        "dark\n/like\n/quit\n"
    )


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("/like 1\n", "no recommendation to judge yet"),
        ("dark\n/like 3\n", "Say which of the recommendations: 1 to 2."),
        ("dark\n/dislike one\n", "Say which of the recommendations: 1 to 2."),
        ("dark\n/seen\n", "Say which of the recommendations: 1 to 2."),
        ("dark\n/new\n/like 1\n", "no recommendation to judge yet"),
        ("/undo\n", "no verdict to take back"),
        ("dark\n/like 1\n/undo\n/undo\n", "no verdict to take back"),
    ],
)
def test_a_verdict_on_nothing_is_told_of(
    converse: Callable[..., str], feedback: Feedback, own_home: Path, keys: str, said: str
) -> None:
    assert said in converse(keys + "/quit\n")
    if (own_home / STORE_PATH).exists():
        with EventStore.at_home(own_home) as store:
            assert store.verdicts() == []


def test_after_an_error_nothing_is_kept_and_there_is_nothing_to_judge(
    converse: Callable[..., str], assistant: ScriptedAssistant, own_home: Path
) -> None:
    assistant.script = [PLAN, Text("Two"), EngineUnavailable("It is starting.")]
    assert "no recommendation to judge yet" in converse("dark\n/like 1\n/quit\n")
    assert not (own_home / STORE_PATH).exists()


def test_a_stopped_reply_is_kept_as_far_as_it_came(own_home: Path) -> None:
    keeper = Keeper(own_home, pytest.fail)
    stopped = Reply("Two that", [{"id": FIRST, "title": "Alien"}], "rec-1", {}, None, complete=False)
    assert keeper.turn("dark", 1.0, stopped)
    with EventStore.at_home(own_home) as store:
        assert [turn.text for turn in store.conversations()[0].turns] == ["dark", "Two that"]
        assert store.impressions() == []
    verdicts = Verdicts(Feedback(), keeper)  # type: ignore[arg-type]
    verdicts.show(stopped)
    with pytest.raises(VerdictError, match="to judge"):
        verdicts.give("liked", "1")


@pytest.mark.parametrize("broken", ["damaged", "not to be written"])
def test_a_store_that_fails_is_told_of_once_and_the_conversation_goes_on(
    converse: Callable[..., str], feedback: Feedback, own_home: Path, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_home / STORE_PATH.parent).mkdir(parents=True)
    if broken == "damaged":
        (own_home / STORE_PATH).write_bytes(b"no database at all" * 1000)
    else:

        def full(*_: object, **__: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr("federation.device.database.sqlite3.connect", full)
    printed = converse("dark\nolder\n/like 1\n/undo\n/quit\n")
    assert printed.count("Two that fit") == 2
    assert printed.count(str(own_home / STORE_PATH)) == 2, "where it is kept, and what is wrong with it"
    assert "Liked: Alien. It is not kept." in printed
    assert "Taken back: liked, Alien. The store still has it." in printed
    assert feedback.taken == [("rec-1", "accepted"), ("rec-1", "withdrawn")]


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [
        ({}, "withdrawn"),
        ({FIRST: "seen"}, "withdrawn"),
        ({FIRST: "liked", SECOND: "disliked"}, "accepted"),
        ({FIRST: "disliked", SECOND: "seen"}, "rejected"),
        ({FIRST: "liked", None: "disliked"}, "rejected"),
        ({None: "liked", FIRST: "disliked"}, "accepted"),
    ],
)
def test_what_verdicts_come_to_for_the_server(verdicts: dict[str | None, Any], outcome: str) -> None:
    assert Shown("r1", [], verdicts).outcome == outcome


def test_a_newer_verdict_on_an_item_replaces_the_one_before(
    converse: Callable[..., str], feedback: Feedback, own_home: Path
) -> None:
    converse("dark\n/like 1\n/like 2\n/dislike 1\n/undo\n/quit\n")
    with EventStore.at_home(own_home) as store:
        assert [(one.item, one.verdict) for one in store.verdicts()] == [(SECOND, "liked")]
    assert feedback.taken == [("rec-1", "accepted")]


def test_the_personal_soft_prompt_goes_along_when_asked_for(
    url: str, own_home: Path, sent: list[dict[str, Any]]
) -> None:
    def ask(*options: str) -> Result:
        return CliRunner().invoke(APP, ["dark", "--url", url, *options])

    assert "no personal pair yet" in ask("--personal").stderr
    own = Personal({SOFT_PROMPT: np.full((2, 3), 0.5, np.float32)}, 8.0, Ground("b", "r", "c1"), 5, 1.0, 2.0, 1.5)
    PersonalFiles.at_home(own_home).save(own)
    assert ask().exit_code == 0
    ask("--personal")
    plain, personal = sent
    assert "soft_prompt" not in plain
    assert (personal["soft_prompt"], personal["cohort"]) == ([[0.5] * 3] * 2, "c1")
