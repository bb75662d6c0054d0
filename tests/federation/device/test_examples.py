"""Choices are deterministic, tell nothing of the future, and are written as the server writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.dialogue.rank import Ranker
from assistant.dialogue.types import Voice
from federation.device.base import Event, split
from federation.device.cohorts import choose
from federation.device.examples import Example, choice, choices, from_impression
from prompts.build import RANK_LABELS
from retrieval.search import Candidate
from retrieval.wish import Wish
from tests.dialogue.fakes import CharTokenizer, ScriptedEngine
from tests.federation.device.making import ITEMS, history


def test_a_history_is_split_by_time():
    events = history()
    parts = split(events[::-1])
    assert (parts.train, parts.validation, parts.test) == (events[:-2], events[-2], events[-1])
    with pytest.raises(ValueError, match="three"):
        split(events[:2])


@given(st.integers(0, 1000), st.integers(1, 30))
def test_a_choice_holds_its_item_once_among_others_not_met_before(seed: int, negatives: int):
    events = history()
    for at, example in enumerate(choices(events, ITEMS, [seed], negatives), 1):
        ids = [item.id for item in example.candidates]
        assert ids[example.chosen] == events[at].item
        assert len(set(ids)) == len(ids) == negatives + 1
        assert not {event.item for event in events[:at]} & set(ids)
        assert [item.id for item in example.history] == [event.item for event in events[:at]][-8:]
    assert choices(events, ITEMS, [seed], negatives) == choices(events, ITEMS, [seed], negatives)
    assert choices(events, ITEMS, [seed], negatives, 3) == choices(events, ITEMS, [seed], negatives)[2:]


def test_what_is_met_later_may_be_among_the_others():
    events = history(count=4)
    later = {event.item for event in events[2:]}
    found = {item.id for seed in range(60) for item in choice(events[:1], events[1], ITEMS, [seed]).candidates}
    assert later <= found


def test_where_few_items_are_left_fewer_stand_beside():
    few = {name: ITEMS[name] for name in list(ITEMS)[:9]}
    events = [Event(0.0, "i0"), Event(1.0, "i1")]
    assert len(choice(events[:1], events[1], few, [0], negatives=30).candidates) == 8


def test_disliked_items_are_not_shown_as_liked():
    events = [Event(0.0, "i0", "disliked"), Event(1.0, "i4", "liked"), Event(2.0, "i8")]
    assert [item.id for item in choice(events[:2], events[2], ITEMS, [0]).history] == ["i4"]


def test_an_impression_becomes_the_choice_that_was_made():
    before = [Event(0.0, "i0", "liked"), Event(1.0, "gone", "liked")]
    made = [from_impression(before, ["i1", "gone", "i2"], "i2", ITEMS, Wish(), [seed]) for seed in range(20)]
    for example in made:
        assert sorted(item.id for item in example.candidates) == ["i1", "i2"]
        assert example.candidates[example.chosen].id == "i2"
        assert [item.id for item in example.history] == ["i0"]
    # Where it stood in the impression is not learned.
    assert {example.chosen for example in made} == {0, 1}
    with pytest.raises(ValueError, match="not among"):
        from_impression([], ["i1"], "i2", ITEMS, Wish(), [0])


@pytest.mark.parametrize("wish", [Wish(), Wish(genres=("horror",), year_from=1960)])
async def test_the_device_s_prompt_and_the_server_s_are_the_same_tokens(wish: Wish):
    sent: list[list[int]] = []

    class Engine(ScriptedEngine):
        async def label_logprobs(self, prompt, labels, **more):
            sent.append(list(prompt))
            return await super().label_logprobs(prompt, labels, **more)

    tokenizer = CharTokenizer()
    example = choice(history()[:5], history()[5], ITEMS, [3])
    candidates = [Candidate(item, 0.0, {}) for item in example.candidates]
    await Ranker(Engine(lambda _: "{}", []), tokenizer).rank(wish, example.history, candidates, Voice("sotto"))
    (server,) = sent
    # The server draws the candidates' order; the device is given the same one here.
    text = "".join(map(chr, server))
    shown = sorted(example.candidates, key=lambda item: text.index(f"\n{item.label} |"))
    device = Example(example.history, tuple(shown), 0, wish).prompt(tokenizer)
    assert device == server
    assert len(RANK_LABELS) >= len(shown)


def test_the_cohort_of_lowest_loss_is_chosen_and_of_equals_everyone_s():
    assert choose({"global": 1.0, "c0": 0.5, "c1": 0.7}) == "c0"
    assert choose({"c1": 0.5, "global": 0.5, "c0": 0.5}) == "global"
    with pytest.raises(ValueError, match="no cohort"):
        choose({})
