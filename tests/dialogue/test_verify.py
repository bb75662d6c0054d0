"""No sentence with a foreign title, name, year, genre or mood is shown."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.dialogue.slots import Slots
from assistant.dialogue.verify import Sentences, Verifier
from retrieval.item import Item
from retrieval.wish import Wish

ALIEN = Item(
    id="a", title="Alien", year=1979, genres=("horror",), moods=("scary",), people={"director": ("Ridley Scott",)}
)
JAWS = Item(id="j", title="Jaws", year=1975, genres=("thriller",), moods=("suspenseful",))


@dataclass(frozen=True)
class Vocabulary:
    genres: tuple[str, ...] = ("horror", "thriller", "comedy", "science fiction")
    moods: tuple[str, ...] = ("scary", "suspenseful", "funny", "slow")
    countries: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ("film",)


def verifier(message: str = "something for tonight", **wish: object) -> Verifier:
    return Verifier(Slots([ALIEN, JAWS], Wish.model_validate(wish)), Vocabulary(), message)


@pytest.mark.parametrize(
    "sentence",
    [
        "Start with [1], a scary one from [1.year].",
        "It is directed by Ridley Scott.",
        "If you want thriller, [2] fits.",
        "Shall I look for something funny instead?",
        "I'd say [1] comes first.",
    ],
)
def test_what_the_records_say_may_be_shown(sentence: str) -> None:
    assert verifier().objection(sentence) is None


@pytest.mark.parametrize(
    "sentence",
    [
        "Try [3].",
        "Try [1.writer].",
        "Try [1",
        "[1] was made in 1984.",
        "[1] is by James Cameron.",
        "[1] is a comedy.",
        "[1] is very funny.",
        "[2] is scary.",
        "good good good good good good good good good good good good",
        "See <|im_end|> this.",
    ],
)
def test_what_they_do_not_say_is_not(sentence: str) -> None:
    assert verifier().objection(sentence) is not None


def test_a_pronoun_speaks_of_the_item_named_last() -> None:
    judge = verifier()
    assert judge.objection("Start with [2].") is None
    assert judge.objection("It is scary.") is not None


def test_the_persons_own_words_may_be_repeated() -> None:
    assert (
        verifier("a comedy like Casablanca").objection("You asked for comedy like Casablanca, and [1] is what I have.")
        is None
    )
    assert verifier(genres=["comedy"]).objection("For comedy, begin with [1].") is None


def test_a_sentence_is_said_once() -> None:
    judge = verifier()
    assert judge.objection("Start with [1].") is None
    assert judge.objection("Start with [1].") == "repeated_sentence"


@given(
    st.lists(st.sampled_from(["Hi [1.about] ", "It is [1.year]. ", "What? ", "No end", "Mr X! ", "\n"]), max_size=8),
    st.integers(1, 5),
)
def test_cutting_into_sentences_loses_no_character(parts: list[str], size: int) -> None:
    text = "".join(parts)
    cutter = Sentences()
    out = [s for at in range(0, len(text), size) for s in cutter.push(text[at : at + size])]
    assert "".join(out) + cutter.rest() == text


def test_a_slot_is_never_cut() -> None:
    cutter = Sentences()
    assert list(cutter.push("From [1.year] on. Then ")) == ["From [1.year] on. "]


def test_a_mood_that_nobody_asked_for_is_not_taken_up() -> None:
    assert verifier().objection("If you want something funny.") is not None
    assert verifier("something funny").objection("If you want something funny.") is None


@pytest.mark.parametrize(
    "sentence",
    [
        "If you want [1.about] it was directed by [1.director].",
        "If you want [1] is the mark, try [1].",
        "If you want some science fiction that is [1].",
        "For [1] comes from France, I'd start with [1.director].",
        "With [1], and again [1], you cannot go wrong.",
    ],
)
def test_a_slot_where_english_has_no_place_for_it_is_not_shown(sentence: str) -> None:
    assert verifier(genres=("science fiction",)).objection(sentence) in {"misplaced_slot", "unknown_slot"}


def test_an_offer_names_an_item_before_it_tells_of_it() -> None:
    judge = Verifier(Slots([ALIEN, JAWS], Wish()), Vocabulary(), "", offers=True)
    assert judge.objection("Something [1.moods] fits.") == "misplaced_slot"
    assert judge.objection("[1.director] directed [1].") is None
    assert judge.objection("It is [1.moods].") is None
    assert judge.objection("It is from [2.year].") == "misplaced_slot"
