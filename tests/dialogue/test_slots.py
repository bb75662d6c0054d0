"""Facts in a reply are the records' own text, put in the place of slots."""

from __future__ import annotations

import re

import pytest

from assistant.dialogue.grammar import asked
from assistant.dialogue.slots import Slots, UnknownSlot, listed
from retrieval.item import Item
from retrieval.wish import Wish

ALIEN = Item(
    id="alien-1979", title="Alien", year=1979, genres=("science fiction", "horror"), moods=("scary",),
    countries=("united kingdom",), people={"director": ("Ridley Scott",), "cast": ("A One", "B Two", "C Three")},
    description="Something hungry comes on board.",
)  # fmt: skip
SLOTS = Slots([ALIEN], Wish(about="space", year_from=1970, year_to=1979), ("Solaris (1972)",), "1950 or earlier")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Try [1].", "Try Alien (1979)."),
        ("By [1.director], with [1.cast].", "By Ridley Scott, with A One and B Two."),
        ("It is [1.genres], [1.moods], from [1.year].", "It is science fiction and horror, scary, from 1979."),
        ("Made in [1.countries].", "Made in the United Kingdom."),
        ("[1.about] Want more?", "Something hungry comes on board. Want more?"),
        ("[1.about].", "Something hungry comes on board."),
        (
            "You liked [T1], want [about] from [years], not [missing].",
            "You liked Solaris (1972), want space from the 1970s, not 1950 or earlier.",
        ),
    ],
)
def test_a_slot_is_replaced_by_the_records_text(written: str, shown: str) -> None:
    assert SLOTS.fill(written) == shown


@pytest.mark.parametrize("written", ["[2]", "[0]", "[1.writer]", "[1.keywords]", "[T2]", "[1.__class__]"])
def test_a_slot_that_points_at_nothing_is_refused(written: str) -> None:
    with pytest.raises(UnknownSlot):
        SLOTS.fill(written)


def test_slots_name_the_items_a_sentence_speaks_of() -> None:
    assert SLOTS.numbers("[1] and [12.year], like [T1]") == {1, 12}


def test_lists_read_as_people_write_them() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"


def test_a_part_of_the_wish_has_a_slot_where_the_first_item_has_it() -> None:
    wish = Wish(genres=("western", "horror"), moods=("funny", "scary"), countries=("united kingdom",), about="space")
    assert Slots([ALIEN], wish).of_wish == {
        "genre": "horror", "a_genre": "some horror", "mood": "scary", "place": "the United Kingdom", "about": "space",
    }  # fmt: skip
    assert Slots([ALIEN], Wish(genres=("western",))).given == ()
    assert Slots([], Wish(genres=("western",)), ("Solaris (1972)",)).given == ("[genre]", "[a_genre]", "[T1]")


def test_a_slot_that_begins_a_sentence_is_written_large() -> None:
    slots = Slots([ALIEN], Wish(genres=("horror",)))
    assert slots.fill("[a_genre] it is. [a_genre]? For [a_genre], [1].") == (
        "Some horror it is. Some horror? For some horror, Alien (1979)."
    )


@pytest.mark.parametrize(
    "text", ["Try [1].", "By [1.director] [1.cast]", "From [years], about [about]? Like [T1].", ""]
)
def test_the_pattern_takes_texts_whose_slots_stand_for_something(text: str) -> None:
    assert re.fullmatch(SLOTS.pattern(), text)


@pytest.mark.parametrize("text", ["Try [2].", "[1.writer]", "[mood]", "[T2]", "a ] b", "[1", "[<|im_end|>]"])
def test_the_pattern_takes_no_other_slot_and_no_stray_bracket(text: str) -> None:
    assert not re.fullmatch(SLOTS.pattern(), text)


@pytest.mark.parametrize(
    "text",
    ["If you want [1]", "For something about [1.cast], see it.", "For [years], try it.", "It is from [1.about]"],
)
def test_the_pattern_takes_no_slot_where_english_has_no_place_for_it(text: str) -> None:
    assert not re.fullmatch(SLOTS.pattern(), text)


def test_an_opening_repeats_nothing_of_the_wish() -> None:
    pattern = SLOTS.pattern(["How about", "Let me suggest"])
    assert re.fullmatch(pattern, "How about [1]? It stars [1.cast].")
    assert not re.fullmatch(pattern, "For something from [years], try [1].")
    assert not re.fullmatch(pattern, "How about something by [1.director]?")


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        ("who directed the first one?", ("director",)),
        ("who's in it", ("cast",)),
        ("when was that made and who stars", ("cast", "year")),
        ("where was it filmed, and how old is it", ("year", "countries")),
        ("where is it set", ()),
        ("how old is the boy", ()),
        ("tell me more", ()),
    ],
)
def test_a_question_names_the_facts_it_asks_for(message: str, fields: tuple[str, ...]) -> None:
    assert asked(message) == fields


def test_a_question_is_answered_with_what_it_asks_for_where_it_is_known() -> None:
    assert re.fullmatch(SLOTS.pattern(asked=["director"]), "[1] was directed by [1.director], with [1.cast].")
    assert not re.fullmatch(SLOTS.pattern(asked=["director"]), "It stars [1.cast].")
    assert not re.fullmatch(SLOTS.pattern(asked=["director"]), "The cast of [1] includes [1.director].")
    assert re.fullmatch(SLOTS.pattern(asked=["runtime"]), "It stars [1.cast].")
