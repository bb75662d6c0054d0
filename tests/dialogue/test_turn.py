"""A turn understands, retrieves, ranks and responds, and keeps to what was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assistant.dialogue.turn import Assistant
from assistant.dialogue.types import ChatMessage, Done, Event, Plan, Shadow, Text, TurnRequest, Voice, WishRequest
from assistant.engine.gateway import FloatArray
from assistant.engine.soft_prompts import SoftPrompt
from assistant.errors import EngineUnavailable
from retrieval.search import Library
from retrieval.wish import Wish
from tests.dialogue.fakes import CharTokenizer, ScriptedEngine
from tests.retrieval.fakes import HashEncoder, MemoryCatalogue
from tests.retrieval.films import FILMS


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(MemoryCatalogue(FILMS), HashEncoder(), tmp_path / "index")


def find(message: str) -> str:
    return '{"act":"find","genres":["horror"]}'


async def answer(assistant: Assistant, *contents: str, **fields: Any) -> list[Event]:
    roles = ("user", "assistant")
    messages = tuple(ChatMessage(roles[at % 2], text) for at, text in enumerate(contents))
    request = TurnRequest(messages, "sotto", **fields)
    return [event async for event in assistant.stream(request)]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


def plan_of(events: list[Event]) -> Plan:
    assert isinstance(events[0], Plan)
    return events[0]


def make(library: Library, edits: Callable[[str], str], *replies: str) -> tuple[Assistant, ScriptedEngine]:
    engine = ScriptedEngine(edits, replies)
    return Assistant(library, engine, CharTokenizer()), engine


async def test_a_wish_is_answered_with_items_that_hold_it_and_a_reply_about_them(library: Library) -> None:
    assistant, _ = make(library, find, "Start with [1]. It is [1.genres].")
    events = await answer(assistant, "a horror film please")
    plan, done = plan_of(events), events[-1]
    assert plan.task == "recommend"
    assert plan.wish.genres == ("horror",)
    assert plan.recommendations
    assert all("horror" in item.genres for item in plan.items)
    assert [one.rank for one in plan.recommendations] == list(range(1, len(plan.recommendations) + 1))
    assert plan.recommendation_id is not None
    assert text_of(events).startswith(f"Start with {plan.items[0].label}. It is")
    assert isinstance(done, Done)
    assert done.usage.completion_tokens > 0
    assert set(done.trace.timings) == {"understand", "retrieve", "rank", "respond"}


async def test_what_was_shown_or_named_is_not_recommended_again(library: Library) -> None:
    assistant, engine = make(library, find, "Start with [1].")
    first = plan_of(await answer(assistant, "horror please"))
    engine.replies = ["Then [1]."]
    shown = " and ".join(item.label for item in first.items)
    second = plan_of(await answer(assistant, "horror please", f"Try {shown}.", "more"))
    assert not {one.id for one in first.recommendations} & {one.id for one in second.recommendations}


async def test_a_sentence_that_does_not_hold_is_never_shown_and_written_again(library: Library) -> None:
    assistant, engine = make(library, find, "Start with [1]. It won 7 awards in 1931. Bye.", "It is [1.genres].")
    events = await answer(assistant, "horror")
    assert "1931" not in text_of(events)
    assert text_of(events).endswith("horror and science fiction.") or "horror" in text_of(events)
    assert engine.prompts[-1].endswith("Start with [1]. ")


async def test_when_nothing_holds_the_items_are_named_plainly(library: Library) -> None:
    assistant, _ = make(library, find, "See [9].", "See [8].", "See [7].")
    events = await answer(assistant, "horror")
    assert text_of(events).startswith("I found ")
    assert plan_of(events).items[0].label in text_of(events)


async def test_an_empty_wish_is_asked_back_once(library: Library) -> None:
    assistant, _ = make(library, lambda message: '{"act":"find"}', "What are you in the mood for?")
    events = await answer(assistant, "recommend me something")
    assert plan_of(events).task == "clarify"
    assert plan_of(events).recommendations == ()


@pytest.mark.parametrize(("act", "task"), [("off_topic", "decline"), ("chat", "chat")])
async def test_small_talk_and_what_is_off_topic_recommend_nothing(library: Library, act: str, task: str) -> None:
    assistant, _ = make(library, lambda message: f'{{"act":"{act}"}}', "I help you find films.")
    plan = plan_of(await answer(assistant, "what is the capital of Peru"))
    assert (plan.task, plan.recommendations, plan.recommendation_id) == (task, (), None)


async def test_a_question_is_answered_from_the_record_it_points_at(library: Library) -> None:
    assistant, engine = make(library, lambda message: '{"act":"ask","of":["T1"]}', "[1.director] directed it.")
    events = await answer(assistant, "who directed Alien (1979)?")
    assert text_of(events) == "Ridley Scott directed it."
    assert engine.understood == ["who directed [T1 Alien (1979)]?"]


async def test_a_wish_that_nothing_fits_is_relaxed_and_says_so(library: Library) -> None:
    assistant, engine = make(
        library,
        lambda m: '{"act":"find","genres":["horror"],"years":[1700,1709]}',
        "Nothing for [missing], but [1] is near.",
    )
    events = await answer(assistant, "horror from the 1700s")
    assert plan_of(events).task == "relaxed"
    assert text_of(events).startswith("Nothing for 1700-1709, but ")
    assert "Missing: 1700-1709" in engine.prompts[-1]


async def test_with_the_wish_sent_back_only_the_last_message_is_read(library: Library) -> None:
    assistant, engine = make(library, lambda m: '{"act":"find","moods":["tense"]}', "[1].", "[1].")
    await answer(assistant, "horror", "Sure.", "tense please", wish=Wish(genres=("horror",)))
    assert engine.understood == ["tense please"]


async def test_without_it_all_messages_are_read_and_each_only_once(library: Library) -> None:
    assistant, engine = make(library, find, "[1].", "[1].")
    await answer(assistant, "horror", "Sure.", "tense please")
    assert sorted(engine.understood) == ["horror", "tense please"]
    await answer(assistant, "horror", "Sure.", "tense please")
    assert len(engine.understood) == 2


async def test_a_reply_is_linked_once_however_often_it_comes_again(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked: list[str] = []
    link = library.linker.link
    monkeypatch.setattr(library.linker, "link", lambda text: linked.append(text) or link(text))
    assistant, _ = make(library, find, *["[1]."] * 3)
    for message in ("more", "others", "again"):
        events = await answer(assistant, "horror", "Try Alien (1979).", message)
        assert "alien" not in {one.id for one in plan_of(events).recommendations}
    assert linked.count("Try Alien (1979).") == 1


async def test_warming_uses_every_prompt(library: Library) -> None:
    assistant, engine = make(library, find, "Start with [1].")
    await assistant.warm("sotto")
    assert len(engine.understood) == 1
    assert [mark for mark in ("Candidates:", "Task: ") for prompt in engine.prompts if mark in prompt]
    assert engine.closed == 1


async def test_the_schema_offers_only_labels_that_exist(library: Library) -> None:
    assistant, engine = make(library, find, "[1].")
    await answer(assistant, "something like Alien (1979)")
    properties = engine.schemas[0]["anyOf"][0]["properties"]
    assert properties["like"]["prefixItems"] == [{"const": "T1"}]
    assert "people" not in properties


async def test_closing_the_turn_closes_the_generation(library: Library) -> None:
    assistant, engine = make(library, find, "Start with [1]. And so on. And on. And on.")
    stream = assistant.stream(TurnRequest((ChatMessage("user", "horror"),), "sotto"))
    async for event in stream:
        if isinstance(event, Text):
            break
    await stream.aclose()
    assert engine.closed == 1


async def test_the_token_limit_is_told_as_such_and_leaves_no_broken_slot(library: Library) -> None:
    assistant, _ = make(library, find, "Start with [1]. Then [2]", "x", "x")
    events = await answer(assistant, "horror", max_tokens=22)
    assert "[" not in text_of(events)
    assert isinstance(events[-1], Done)
    assert events[-1].finish_reason == "length"


async def test_unreadable_output_of_the_model_is_a_bare_wish_not_an_error(library: Library) -> None:
    assistant, _ = make(library, lambda m: '{"act":"find","genres":["hor', "What do you like?")
    assert plan_of(await answer(assistant, "hm")).task == "clarify"


async def test_positions_count_from_the_last_list_even_after_a_question_about_one_of_it(library: Library) -> None:
    edits = {
        "scary": '{"act":"find","genres":["horror"]}',
        "why": '{"act":"why","of":["S2"]}',
        "not": '{"act":"find","dislike":["S1"]}',
    }
    assistant, _ = make(library, lambda message: edits[message.split()[0]], "No [T1].", "Fine.", "Sorry.")
    listed = "Try Alien (1979) and Psycho (1960)."
    events = await answer(
        assistant, "scary ones", listed, "why the second?", "Psycho (1960) is horror.", "not the first"
    )
    assert plan_of(events).wish.dislike == ("alien",)


async def test_a_reading_that_leaves_out_another_time_is_asked_for_once_more(library: Library) -> None:
    answers = iter(['{"act":"find"}', '{"act":"find","era":"older"}'])
    assistant, engine = make(library, lambda message: next(answers), "[1].", "[1].")
    await answer(assistant, "older please")
    (again,) = engine.schemas[1]["anyOf"]
    assert again["required"] == ["act", "era"]


async def test_a_stop_ends_the_reply_in_the_text_that_is_shown(library: Library) -> None:
    assistant, engine = make(library, find, "Gladly, here it is. Start with [1]. Then [2]. And [3].")
    events = await answer(assistant, "horror", stop=("Start with A", "zz"))
    done = events[-1]
    assert text_of(events).endswith(". ")
    assert "Start" not in text_of(events)
    assert isinstance(done, Done)
    assert done.finish_reason == "stop"
    assert engine.closed == 1


async def test_a_stop_within_the_name_of_an_item_cuts_there(library: Library) -> None:
    assistant, _ = make(library, find, "Start with [1]. Then [2].", "x", "x")
    events = await answer(assistant, "horror")
    label = plan_of(events).items[0].label
    assistant, _ = make(library, find, "Start with [1]. Then [2].")
    assert text_of(await answer(assistant, "horror", stop=(label[3:],))) == f"Start with {label[:3]}"


async def test_a_reply_that_is_broken_off_is_counted_all_the_same(library: Library) -> None:
    assistant, engine = make(library, find, "Start with [1]. Then [2]. And [3]. Bye.")
    done = (await answer(assistant, "horror", stop=("Then",)))[-1]
    assert isinstance(done, Done)
    assert done.usage.prompt_tokens == 7 + sum(map(len, engine.prompts))
    assert done.usage.completion_tokens >= 3 + len("Start with [1]. Then [2]. ")


@pytest.mark.parametrize("limit", [1, 5, 30])
async def test_a_reply_is_never_longer_than_its_limit_even_where_it_falls_back(library: Library, limit: int) -> None:
    assistant, _ = make(library, find, "[9].", "[9].", "[9].")
    events = await answer(assistant, "horror", max_tokens=limit)
    done = events[-1]
    assert text_of(events) == ""
    assert isinstance(done, Done)
    assert done.finish_reason == "length"


async def test_one_seed_gives_one_sampling_and_one_order(library: Library) -> None:
    seen = []
    for seed in (5, 5, 6):
        assistant, engine = make(library, find, "Start with [1].")
        plan = plan_of(await answer(assistant, "horror", seed=seed, temperature=0.8))
        seen.append(([one.id for one in plan.recommendations], engine.prompts, engine.samplings))
    assert seen[0] == seen[1]
    assert [(one.seed, one.temperature) for one in seen[2][2]] == [(6, 0.8)]


async def test_a_wish_as_data_is_answered_with_items_and_no_words(library: Library) -> None:
    assistant, engine = make(library, find)
    wish = Wish(genres=("horror",), count=2)
    plan, _ = await assistant.recommend(WishRequest(wish, "sotto", seed=1))
    assert plan.wish == wish
    assert [one.rank for one in plan.recommendations] == [1, 2]
    assert [one.id for one in plan.recommendations] == [item.id for item in plan.items]
    assert all(
        "horror" in item.genres and "horror" in one.reason
        for item, one in zip(plan.items, plan.recommendations, strict=True)
    )
    assert plan.recommendation_id is not None
    assert plan.relaxed == ()
    assert engine.understood == engine.samplings == []


async def test_a_wish_as_data_gets_what_the_same_words_get(library: Library) -> None:
    assistant, _ = make(library, find, "Start with [1].")
    spoken = plan_of(await answer(assistant, "horror please", seed=3))
    plan, _ = await assistant.recommend(WishRequest(spoken.wish, "sotto", seed=3))
    assert plan.recommendations == spoken.recommendations


async def test_what_is_excluded_or_liked_does_not_come_back(library: Library) -> None:
    assistant, _ = make(library, find)
    first, _ = await assistant.recommend(WishRequest(Wish(count=4), "sotto"))
    gone = tuple(one.id for one in first.recommendations)
    second, _ = await assistant.recommend(WishRequest(Wish(like=gone[:1], count=10), "sotto", exclude=gone[1:]))
    assert second.recommendations
    assert not set(gone) & {one.id for one in second.recommendations}


async def test_an_empty_wish_as_data_has_nobody_to_ask_back(library: Library) -> None:
    assistant, _ = make(library, find)
    plan, _ = await assistant.recommend(WishRequest(Wish(), "sotto"))
    assert (plan.task, len(plan.recommendations)) == ("recommend", 3)


async def test_what_a_wish_as_data_gives_up_is_told(library: Library) -> None:
    assistant, _ = make(library, find)
    plan, _ = await assistant.recommend(WishRequest(Wish(genres=("horror",), year_from=1700, year_to=1709), "sotto"))
    assert (plan.task, plan.relaxed) == ("relaxed", ("1700-1709",))
    everything = tuple(item.id for item in FILMS)
    none, _ = await assistant.recommend(WishRequest(Wish(), "sotto", exclude=everything))
    assert (none.task, none.recommendations, none.recommendation_id) == ("none", (), None)


class ByModel(ScriptedEngine):
    """Ranks the last candidate first under the model ``other``, and fails under ``broken``."""

    async def label_logprobs(
        self, prompt: Sequence[int], labels: Sequence[int], *, model: str, soft_prompt: SoftPrompt | None = None
    ) -> FloatArray:
        if model == "broken":
            raise EngineUnavailable("It is away.")
        preference = np.arange(len(labels), dtype=np.float64)
        return 9.0 * (preference if model == "other" else -preference)


@pytest.mark.parametrize("model", ["other", "broken"])
async def test_a_shadow_chooses_among_the_same_candidates_and_changes_nothing(library: Library, model: str) -> None:
    notes: list[tuple[tuple[str, ...], tuple[str, ...], float | None]] = []
    shadow = Shadow(Voice(model), lambda *note: notes.append(note))
    said = "Start with [1]. It is [1.genres]."
    with_shadow, without = [
        await answer(Assistant(library, ByModel(find, [said]), CharTokenizer()), "a horror film please", voice=voice)
        for voice in (Voice("sotto", shadow=shadow), Voice("sotto"))
    ]
    plan = plan_of(with_shadow)
    assert (text_of(with_shadow), plan.recommendations) == (text_of(without), plan_of(without).recommendations)
    ((shown, chosen, seconds),) = notes
    assert shown == tuple(one.id for one in plan.recommendations)
    assert (seconds is None) == (model == "broken")
    assert len(set(chosen)) == (0 if model == "broken" else len(shown))
    assert chosen != shown
