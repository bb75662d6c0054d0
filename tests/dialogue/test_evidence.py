"""An edit can hold only what the message gives evidence for."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from jsonschema import ValidationError, validate
from numpy.typing import NDArray

from assistant.dialogue.edit import ASKING, Edit, by_act, edit_schema
from assistant.dialogue.evidence import EvidenceFinder
from assistant.dialogue.narrowing import insisting, narrowed
from assistant.starter.turns import Asker
from assistant.starter.world import World
from retrieval.bundled import bundled_items
from retrieval.catalogue import Facets
from tests.retrieval.fakes import HashEncoder

VOCABULARY = Facets(
    genres=("comedy", "drama", "film noir", "horror", "science fiction", "war", "western"),
    moods=("funny", "sad", "scary", "slow", "violent", "weird"),
    countries=("france", "japan", "south korea"),
    languages=("english", "french"),
    kinds=("film",),
)


class Indifferent:
    """An encoder to which all texts are alike in nothing."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.zeros((len(texts), 4), dtype=np.float32)


@pytest.fixture
def finder() -> EvidenceFinder:
    return EvidenceFinder(VOCABULARY, HashEncoder())


@pytest.mark.parametrize(
    ("message", "facet", "value"),
    [
        ("a funny western", "genres", "western"),
        ("some sci-fi", "genres", "science fiction"),
        ("nothing too bloody", "moods", "violent"),
        ("that makes me laugh", "moods", "funny"),
        ("korean thrillers", "countries", "south korea"),
        ("no subtitles please", "languages", "english"),
    ],
)
def test_what_a_message_says_in_any_known_way_may_be_written(
    finder: EvidenceFinder, message: str, facet: str, value: str
) -> None:
    assert value in getattr(finder.find(message), facet)


def test_what_it_does_not_say_may_not(finder: EvidenceFinder) -> None:
    found = finder.find("a funny western")
    assert "france" not in found.countries
    assert len(found.genres) < len(VOCABULARY.genres)
    assert not found.years


def test_a_title_that_sounds_like_a_genre_is_no_evidence(finder: EvidenceFinder) -> None:
    assert "japan" not in finder.find("like [T1 Japan]").countries


def test_years_eras_and_counts_need_a_word_that_can_mean_them(finder: EvidenceFinder) -> None:
    bare = finder.find("a gentle thing about love")
    assert (bare.years, bare.era, bare.count) == ((), (), ())
    schema = narrowed(edit_schema(bare, [], []), bare)
    assert not {"years", "era", "count"} & set(schema["properties"])
    assert finder.find("from the nineties").years == ((1990, 1999),)
    assert finder.find("before 1980").years == ((0, 1979),)
    assert finder.find("until 1980").years == ((0, 1980),)
    assert finder.find("2000 or later").years[0] == (2000, 0)
    assert finder.find("between 1960 and 1969").years == ((1960, 1969),)
    assert finder.find("a 1994 film").years == ((1994, 1994),)
    assert finder.find("something older").era == ("older",)
    assert finder.find("these are too old").era == ("newer",)
    assert finder.find("a classic").era == ("older", "newer")
    assert finder.find("give me five").count == (5,)


def test_a_value_nobody_told_how_people_say_stays_open() -> None:
    finder = EvidenceFinder(Facets(genres=("cookbook",), kinds=("book",)), HashEncoder())
    assert finder.find("anything at all").genres == ("cookbook",)


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ("forget all that. a funny french film", ("all",)),
        ("the year doesn't matter", ("years",)),
        ("with subtitles is fine", ("languages",)),
        ("a funny western", ()),
    ],
)
def test_only_words_that_give_up_let_a_part_of_the_wish_go(
    finder: EvidenceFinder, message: str, parts: tuple[str, ...]
) -> None:
    found = finder.find(message)
    assert found.clear == parts
    schema = narrowed(edit_schema(found, [], []), found)
    assert ("clear" in schema["properties"]) == bool(parts)


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ("doesn't have to be French", {"countries", "languages"}),
        ("never mind the western bit", {"genres"}),
        ("it needn't be scary anymore", {"moods"}),
        ("not just the 1980s", {"years"}),
        ("it doesn't have to be with [P1 Tom Hanks]", {"people"}),
        ("scrap [T1 that], new plan", {"all"}),
    ],
)
def test_a_part_that_is_named_beside_a_word_that_gives_up_may_go(
    finder: EvidenceFinder, message: str, parts: set[str]
) -> None:
    assert parts <= set(finder.find(message).clear)


@pytest.mark.parametrize(
    "message",
    ["back to the comedies", "something else", "more like the first one", "I like [P1 Nicole Kidman]", "[T1 a]"],
)
def test_what_gives_nothing_up_lets_nothing_go(finder: EvidenceFinder, message: str) -> None:
    assert finder.find(message).clear == ()


@pytest.mark.parametrize(("message", "facet"), [("help us find a film", "countries"), ("another", "genres")])
def test_common_words_are_not_taken_for_said_outright(finder: EvidenceFinder, message: str, facet: str) -> None:
    assert not finder.find(message).choices[facet].sure


def test_a_word_that_the_linker_took_for_a_title_is_possible_but_not_outright(finder: EvidenceFinder) -> None:
    found = finder.find("anything [T1 newer] than that, a [T2 sad] one from the [T3 sixties]")
    assert "newer" in found.era
    assert found.moods == ("sad",)
    assert found.years == ((1960, 1969),)
    assert found.outright == ()


def test_what_is_said_outright_must_be_written(finder: EvidenceFinder) -> None:
    def required(message: str) -> list[str]:
        found = finder.find(message)
        schema = narrowed(edit_schema(found, ["T1"], ["P1"]), found)
        return [name for name in schema["required"] if name != "act"]

    assert required("a western") == ["genres"]
    assert required("not a western") == ["not_genres"]
    assert required("a slow french western like [T1 Shane]") == ["like", "genres", "moods", "countries"]
    assert required("five without [P1 John Wayne]") == ["not_people"]
    assert required("never mind the western") == ["clear"]


def test_a_reading_that_leaves_out_another_time_is_asked_for_again(finder: EvidenceFinder) -> None:
    def required(message: str, edit: Edit) -> list[str] | None:
        found = finder.find(message)
        again = insisting(narrowed(edit_schema(found, [], []), found), found, edit)
        return again and again["required"]

    assert required("older, a western", Edit(act="find", genres=("western",))) == ["act", "genres", "era"]
    assert required("who made that western?", Edit(act="ask")) is None
    assert required("older still", Edit(act="find")) == ["act", "era"]
    assert required("films for my older brother", Edit(act="find", about="films")) is None


@pytest.mark.parametrize(
    "message", ["no horror", "a horror, nothing slow", "sick of westerns, a comedy", "not [T1 Jaws]"]
)
def test_no_field_offers_what_another_must_hold(finder: EvidenceFinder, message: str) -> None:
    found = finder.find(message)
    for wanted, refused in (("genres", "not_genres"), ("moods", "not_moods"), ("like", "dislike")):
        assert not set(found.choices[wanted].values) & set(found.choices[refused].sure)


@pytest.mark.parametrize(
    ("message", "acts"),
    [
        ("a funny western", set()),
        ("who directed [T1 Alien]?", {"ask"}),
        ("tell me more", {"ask"}),
        ("[T1 Who] directed the second one", {"ask"}),
        ("whyd you recommend that one", {"why"}),
        ("the first or the second", {"compare"}),
        ("[T1 Alien], [S2 Aliens]", {"compare"}),
        ("more like [T1 Why Did You Kiss My Wife]", set()),
    ],
)
def test_only_what_has_the_words_of_a_question_asks_one(finder: EvidenceFinder, message: str, acts: set[str]) -> None:
    found = finder.find(message, shown=3)
    assert set(found.acts) - {"chat", "off_topic"} == {"find"} | acts
    assert set(narrowed(edit_schema(found, ["S1"], []), found)["properties"]["act"]["enum"]) == set(found.acts)


def test_a_question_says_what_it_is_about_and_a_wish_everything_else(finder: EvidenceFinder) -> None:
    schema = edit_schema(VOCABULARY, ["S1", "S2"], [])
    whole = by_act(schema)
    for edit in ({"act": "why", "of": ["S1"]}, {"act": "find", "like": ["S2"], "genres": ["war"]}, {"act": "chat"}):
        validate(edit, whole)
    for edit in ({"act": "find", "of": ["S1"]}, {"act": "ask", "genres": ["war"]}, {"act": "chat", "of": ["S1"]}):
        with pytest.raises(ValidationError):
            validate(edit, whole)
    found = finder.find("ok, a funny western")
    assert [form["properties"]["act"]["enum"] for form in by_act(narrowed(schema, found))["anyOf"]] == [
        ["find"],
        ["chat"],
    ]


@pytest.mark.parametrize("act", ASKING)
def test_a_question_is_hardly_ever_taken_for_none(act: str) -> None:
    finder = EvidenceFinder(VOCABULARY, Indifferent())
    asker = Asker(World(list(bundled_items())), random.Random(5))
    messages = [asker.example(act).message for _ in range(400)]
    assert sum(act in finder.find(message, shown=3).acts for message in messages) >= 0.99 * len(messages)
