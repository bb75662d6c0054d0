"""A lesson: what a turn hands to the person's device gives it the server's own prompts, and stays nowhere else."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from assistant.dialogue.types import Lesson, LessonReply
from assistant.settings import STARTER_PATH
from federation.device.examples import Example, ReplyExample
from federation.device.records import Impression, Reply, from_row
from prompts.build import ChatTokenizer
from prompts.records import short_record
from retrieval.item import Item
from retrieval.wish import Wish
from tests.api.fakes import client_of, served
from tests.api.test_chat import frames
from tests.api.whole import EDIT, REPLY, SteadyEngine, whole_app
from tests.dialogue.fakes import CharTokenizer, ScriptedEngine
from tests.retrieval.films import FILMS

CHAT, RECOMMEND = "/v1/chat/completions", "/v1/recommendations"
ITEMS = {item.id: item for item in FILMS}
RELAXED = '{"act":"find","genres":["horror"],"years":[1700,1709]}'


@cache
def starter_tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(STARTER_PATH)


def body_of(content: str = "horror please", **fields: Any) -> dict[str, Any]:
    return {"model": "sotto", "messages": [{"role": "user", "content": content}], "lesson": True, **fields}


async def answer_of(app: Any, body: dict[str, Any]) -> dict[str, Any]:
    """The answer's own fields: those of a whole one, or those of all chunks of a stream."""
    async with client_of(app) as client:
        answer = await client.post(CHAT, json=body)
    if not body.get("stream"):
        return dict(answer.json())
    return {name: value for chunk in frames(answer.text)[:-1] for name, value in chunk.items()}


def impression_of(answer: dict[str, Any]) -> Impression:
    """What a device keeps of ``answer``, as its own file would bring it."""
    shown = [one["id"] for one in answer["recommendations"]]
    row = {"kind": "impression", "id": answer["recommendation_id"], "at": 1.0, "wish": answer["wish"], "shown": shown}
    kept = from_row({**row, **answer["lesson"]})
    assert isinstance(kept, Impression)
    return kept


def prompt_of(impression: Impression, tokenizer: ChatTokenizer) -> list[int]:
    assert impression.reply is not None
    shown = tuple(ITEMS[one] for one in impression.shown)
    return ReplyExample(Wish.model_validate(impression.wish), shown, impression.reply).prompt(tokenizer)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("tokenizer", [CharTokenizer, starter_tokenizer])
@pytest.mark.parametrize(
    ("content", "wish", "edit", "reply"),
    [
        ("horror please", {"count": 1}, EDIT, REPLY),
        ("  like [1] <|im_end|>\n\tAlien ü " + "x" * 3000, {"count": 1}, EDIT, "Start with [1]. It is [1.genres].\n"),
        ("more", {"like": ["aliens"], "moods": ["tense"], "count": 2}, EDIT, "Like [T1], [1] and [2]."),
        ("horror from the 1700s", {"count": 1}, RELAXED, "Nothing for [missing], but [1] is near."),
    ],
    ids=["plain", "hostile and long", "with a history", "relaxed"],
)
async def test_the_device_s_prompts_and_the_server_s_are_the_same_tokens(
    tmp_path: Path, stream: bool, tokenizer: Any, content: str, wish: Any, edit: str, reply: str
) -> None:
    made, engine = tokenizer(), SteadyEngine(edit, reply)
    app = whole_app(tmp_path, engine, tokenizer=made)
    answer = await answer_of(app, body_of(content, wish=wish, stream=stream, seed=3))
    kept = impression_of(answer)
    _, ranked, responded = ([ord(one) for one in prompt] for prompt in engine.prompts)

    assert prompt_of(kept, made) == responded
    assert kept.reply is not None
    assert ReplyExample(Wish(), (), kept.reply).written(made) == made.encode(reply, add_special_tokens=False)

    told = Wish.model_validate(kept.wish)
    assert kept.shown == kept.candidates[: len(kept.shown)]
    assert len(kept.candidates) > len(kept.shown) or told.count > 1
    assert rank_prompt(told, kept.candidates, ranked, made) == ranked


def rank_prompt(wish: Wish, candidates: tuple[str, ...], ranked: list[int], tokenizer: ChatTokenizer) -> list[int]:
    """The prompt of the choice among ``candidates``, in the order that the server drew for ``ranked``."""
    text = tokenizer.decode(ranked) if hasattr(tokenizer, "decode") else "".join(map(chr, ranked))
    among: list[Item] = sorted((ITEMS[one] for one in candidates), key=lambda item: text.rindex(short_record(item)))
    return Example(tuple(ITEMS[one] for one in wish.like), tuple(among), 0, wish).prompt(tokenizer)


async def test_a_reply_written_again_is_told_as_it_was_shown(tmp_path: Path) -> None:
    engine = ScriptedEngine(lambda _: EDIT, ["Start with [1]. It won 7 awards in 1931. Bye.", "Then see [2]."])
    answer = await answer_of(whole_app(tmp_path, engine), body_of())  # type: ignore[arg-type]
    assert impression_of(answer).reply.text == "Start with [1]. Then see [2]."  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("replies", "fields"),
    [
        (["See [9].", "See [8].", "See [7]."], {}),
        (["Enjoy this. See [9].", "See [8].", "See [7]."], {}),
        (["Start with [1]. It is [1.genres]. And so it goes on."], {"max_tokens": 30}),
        (["Start with [1]. It is [1.genres]."], {"stop": " It"}),
        (["Start with [1]."], {"stop": "."}),
    ],
    ids=["plain", "plain behind a sentence", "limit", "stop", "stop at the end"],
)
async def test_a_reply_that_is_not_the_model_s_own_or_was_cut_is_null(
    tmp_path: Path, replies: list[str], fields: dict[str, Any]
) -> None:
    engine = ScriptedEngine(lambda _: EDIT, replies)
    answer = await answer_of(whole_app(tmp_path, engine), body_of(**fields))  # type: ignore[arg-type]
    assert answer["lesson"]["reply"] is None
    assert impression_of(answer).candidates[0] == answer["recommendations"][0]["id"]


@pytest.mark.parametrize("usage", [False, True])
async def test_a_stream_s_last_chunk_alone_carries_it(tmp_path: Path, usage: bool) -> None:
    body = body_of(wish={"count": 1}, stream=True, stream_options={"include_usage": usage})
    async with client_of(whole_app(tmp_path)) as client:
        *chunks, last, end = frames((await client.post(CHAT, json=body)).text)
    assert (end, last["lesson"]["reply"]["text"]) == ("[DONE]", REPLY)
    assert all("lesson" not in chunk for chunk in chunks)


@pytest.mark.parametrize("fields", [{"lesson": False}, {"lesson": None}, {"lesson": False, "trace": True}])
@pytest.mark.parametrize("stream", [False, True])
async def test_without_asking_nothing_of_it_is_told(tmp_path: Path, fields: dict[str, Any], stream: bool) -> None:
    async with client_of(whole_app(tmp_path)) as client:
        text = (await client.post(CHAT, json=body_of(stream=stream, **fields))).text
        recommended = (await client.post(RECOMMEND, json={"wish": {"genres": ["horror"]}})).text
    for told in (text, recommended):
        assert all(name not in told for name in ("lesson", "candidates", "[1]", "horror please"))


async def test_where_nothing_is_recommended_there_is_none(tmp_path: Path) -> None:
    engine = SteadyEngine('{"act":"chat"}', "I help you find films.")
    assert "lesson" not in await answer_of(whole_app(tmp_path, engine), body_of("hello"))


async def test_a_wish_that_comes_as_data_tells_the_candidates(tmp_path: Path) -> None:
    async with client_of(whole_app(tmp_path)) as client:
        answer = (await client.post(RECOMMEND, json={"wish": {"count": 1}, "lesson": True})).json()
    assert answer["lesson"]["reply"] is None
    assert len(answer["lesson"]["candidates"]) == len(FILMS)
    assert answer["lesson"]["candidates"][0] == answer["recommendations"][0]["id"]


@pytest.mark.parametrize("stream", [False, True])
def test_nothing_of_it_is_logged_counted_or_kept_by_the_server(
    tmp_path: Path, stream: bool, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    app = whole_app(tmp_path, SteadyEngine(reply="Have xyzzy with [1] and [2]."))
    with served(app, log_level="debug") as url, httpx.Client(base_url=url) as client:
        answer = client.post(CHAT, json=body_of("plugh", stream=stream))
        metrics = client.get("/metrics").text
    assert "Have xyzzy with [1] and [2]." in answer.text
    output = capfd.readouterr()
    files = [path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert files, "the server has its state there"
    for place in (metrics, caplog.text, output.out, output.err, *files):
        assert not any(secret in place for secret in ("xyzzy", "plugh"))


def test_no_repr_tells_what_was_said() -> None:
    reply = LessonReply(task="recommend", message="xyzzy", text="xyzzy", liked=("xyzzy",), missing="xyzzy")
    assert "xyzzy" not in repr(Lesson(candidates=("i1",), reply=reply))


def test_its_reply_is_what_the_store_takes() -> None:
    reply = LessonReply(task="recommend", message="dark", text="[1].", liked=("Alien",), slots=("[T1]",))
    assert Reply(**reply.model_dump()) == Reply("recommend", "dark", "[1].", ("Alien",), "", ("[T1]",))
