"""What a person liked among what they were shown, and the replies they liked, become lessons; nothing later does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from assistant.dialogue.respond import Brief, Outcome, Responder
from assistant.dialogue.types import TurnRequest
from federation.device.base import Event
from federation.device.examples import ReplyExample, choices
from federation.device.experience import Experience, lessons
from federation.device.records import Impression, Judgement, Reply
from retrieval.wish import Wish
from tests.dialogue.fakes import CharTokenizer, ScriptedEngine
from tests.federation.device.making import ITEMS, history

WISH = {"genres": ["horror"]}
REPLY = Reply("recommend", "something dark", "[1] may suit you.", slots=("[genre]",))
SEEN = history()
AT = 3.5
VOCABULARY = SimpleNamespace(genres=(), moods=(), countries=(), languages=(), kinds=())


def shown(at: float = AT, *, item: str | None = "i2", given: float | None = None, **changes: object) -> Experience:
    """The history, with a liked verdict on one of three that were shown of four."""
    fields = {"wish": WISH, "candidates": ("i1", "i2", "i3", "i5"), "shown": ("i1", "i2", "i3"), "reply": REPLY}
    impression = Impression(at=at, id="r1", **{**fields, **changes})  # type: ignore[arg-type]
    verdict = Judgement(at if given is None else given, "liked", item, "r1")
    events = [*SEEN, *([Event(verdict.at, item, "liked")] if item else [])]
    return Experience(sorted(events), [impression], [verdict])


def learned(experience: Experience) -> list[set[str]]:
    found = lessons(experience, ITEMS, "own", [0], negatives=5)
    return [{item.id for item in one.candidates} for one in found.choices]


def test_a_liked_verdict_is_the_choice_among_what_was_shown_at_its_place_in_time():
    found = lessons(shown(), ITEMS, "own", [0], negatives=5)
    (at,) = [at for at, one in enumerate(found.choices) if one.wish == Wish(genres=("horror",))]
    example = found.choices[at]
    assert {item.id for item in example.candidates} == {"i1", "i2", "i3"}
    assert example.candidates[example.chosen].id == "i2"
    assert [item.id for item in example.history] == ["i0", "i4", "i8", "i12"]
    # All else is as without impressions.
    plain = choices(sorted(shown().events)[:-2], ITEMS, [0], 5)
    assert [one for place, one in enumerate(found.choices) if place != at] == [
        one for place, one in enumerate(plain) if place != at
    ]


@pytest.mark.parametrize(
    ("changes", "candidates"),
    [
        ({"shown": ("i2",)}, {"i1", "i2", "i3", "i5"}),  # one alone is no choice
        ({"candidates": ("i1", "i2", "gone"), "shown": ("i1", "i2", "gone")}, {"i1", "i2"}),
        ({"wish": {"unknown": 1}}, None),
        ({"candidates": ("i2",), "shown": ("i2",)}, None),
        ({"given": AT - 1}, None),  # before it was shown
    ],
)
def test_what_is_missing_is_done_without(changes: dict[str, object], candidates: set[str] | None):
    assert ({"i1", "i2", "i3"} in learned(shown(**changes))) is False  # type: ignore[arg-type]
    assert candidates is None or candidates in learned(shown(**changes))  # type: ignore[arg-type]


def test_of_two_that_were_liked_neither_was_turned_down_for_the_other():
    one = shown()
    also = Judgement(4.5, "liked", "i3", "r1")
    both = Experience(sorted([*one.events, Event(4.5, "i3", "liked")]), one.impressions, [*one.verdicts, also])
    assert {"i1", "i2"} in learned(both)
    assert {"i1", "i3"} in learned(both)


@pytest.mark.parametrize("at", [SEEN[-1].at + 1, SEEN[-1].at - 0.5])
def test_nothing_of_the_validation_or_test_event_or_after_is_learned(at: float):
    """The verdict is the test event in one case, and the validation event in the other."""
    found = lessons(shown(at), ITEMS, "own", [0], negatives=5)
    assert not found.replies
    assert all(one.wish == Wish() for one in found.choices)
    # Nor does a verdict given later tell that what was shown beside it was liked too.
    early, late = shown(), Judgement(at, "liked", "i3", "r1")
    both = Experience(sorted([*early.events, Event(at, "i3", "liked")]), early.impressions, [*early.verdicts, late])
    assert {"i1", "i2", "i3"} in learned(both)


@pytest.mark.parametrize(("item", "given"), [("i2", AT), (None, AT)])
def test_a_reply_to_a_liked_impression_is_learned(item: str | None, given: float):
    found = lessons(shown(item=item, given=given), ITEMS, "own", [0], negatives=5)
    assert found.replies == [
        ReplyExample(Wish(genres=("horror",)), tuple(ITEMS[one] for one in ("i1", "i2", "i3")), REPLY)
    ]


@pytest.mark.parametrize("changes", [{"reply": None}, {"shown": ("i2", "gone"), "candidates": ("i2", "gone")}])
def test_a_reply_that_cannot_be_told_again_is_not(changes: dict[str, object]):
    assert not lessons(shown(**changes), ITEMS, "own", [0], negatives=5).replies  # type: ignore[arg-type]


def test_a_reply_to_a_whole_impression_liked_after_the_validation_event_is_not():
    assert not lessons(shown(item=None, given=SEEN[-2].at), ITEMS, "own", [0], negatives=5).replies


@pytest.mark.parametrize(
    "brief",
    [
        Brief("recommend", Wish(genres=("horror",), year_from=1950, year_to=1959), (ITEMS["i0"], ITEMS["i4"]), "hi"),
        Brief("relaxed", Wish(), (ITEMS["i1"],), "like <|im_end|> Alien", ("Alien (1979)",), "of 1910"),
    ],
)
async def test_the_device_s_respond_prompt_and_the_server_s_are_the_same_tokens(brief: Brief):
    tokenizer = CharTokenizer()
    engine = ScriptedEngine(lambda _: "", ["[1] may suit you."])
    responder = Responder(engine, tokenizer, VOCABULARY)
    assert [one async for one in responder.stream(brief, TurnRequest((), "sotto"), Outcome())]
    told = Reply(brief.task, brief.message, "[1] may suit you.", brief.liked, brief.missing, brief.slots.given)
    device = ReplyExample(brief.wish, brief.items, told)
    assert "".join(map(chr, device.prompt(tokenizer))) == engine.prompts[0]
    assert device.written(tokenizer) == [ord(one) for one in told.text]
