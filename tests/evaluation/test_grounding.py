"""Statements of a reply that stand in no source are found, and those that do are let be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.evaluation.grounding import Sources, ungrounded
from retrieval.linker import Linker
from retrieval.wish import Wish
from tests.evaluation.fakes import AIRPLANE, ALIEN, FILMS, SOLARIS

LINKER = Linker(FILMS)
GENRES = {genre for item in FILMS for genre in item.genres} | {"western", "film noir"}


def found(
    reply: str, said: str = "", items: tuple = (ALIEN,), named: tuple = (), wish: Wish | None = None
) -> list[str]:
    return ungrounded(reply, Sources(items, named, said, wish or Wish()), LINKER, GENRES)


@pytest.mark.parametrize(
    "reply",
    [
        "Alien (1979) is a horror film by Ridley Scott with Sigourney Weaver.",
        "If you want science fiction, Alien it is. The crew of a space tug answers a distress call!",
        "Scary and British: Alien from the 1970s.",
        "Weaver is great in it. Sotto thinks so too, and I'm sure.",
        "Would you rather have a western?",
    ],
)
def test_what_the_record_holds_is_grounded(reply):
    assert found(reply) == []


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ("You should also see Solaris tonight.", "title Solaris"),
        ("Alien was directed by Andrei Tarkovsky.", "person Andrei Tarkovsky"),
        ("Alien was directed by Jacob Admmaster.", "name Jacob Admmaster"),
        ("Alien was directed by Mark Stone.", "name Mark Stone"),
        ("Alien came out in 1986.", "year 1986"),
        ("Alien is a gem of the 1990s.", "year 1990s"),
        ("Alien is a gem of the 90s.", "year 90s"),
        ("Alien is a fine western.", "genre western"),
        ("Alien is one of the best comedies.", "genre comedy"),
    ],
)
def test_what_no_source_holds_is_found(reply, fault):
    assert fault in found(reply)


def test_the_persons_own_words_are_a_source():
    said = "a comedy from the 90s like Solaris with Jacob Admmaster, or 1986"
    reply = "Like Solaris, a comedy of the 1990s with Jacob Admmaster, not 1986, is not here."
    assert found(reply, said) == []


def test_a_title_they_named_may_be_told_with_its_year_only():
    assert found("Like Solaris (1972), it is slow.", named=(SOLARIS,)) == []
    assert found("Solaris (1972) is by Andrei Tarkovsky.", named=(SOLARIS,)) == ["person Andrei Tarkovsky"]


def test_the_years_of_the_wish_and_ten_around_them_may_be_told():
    wish = Wish(year_from=1950, year_to=1959)
    assert found("Nothing from 1950 to 1959, so I looked from 1940 to 1969 in the 1950s.", wish=wish) == []
    assert found("Nothing from 1930.", wish=wish) == ["year 1930"]


def test_genres_offered_where_no_item_is_spoken_of_are_no_claim():
    assert found("Tell me a genre: a western or a comedy.", items=()) == []


@given(st.sampled_from(FILMS), st.sampled_from(FILMS))
def test_a_record_read_out_is_always_grounded_in_itself_and_never_in_another(item, other):
    names = ", ".join(item.names)
    reply = f"It is {item.label}: {item.description} With {names}. A {item.genres[0]} film."
    assert found(reply, items=(item,)) == []
    if item is not other:
        assert found(reply, items=(other,))


def test_a_word_that_is_also_a_title_is_no_title_at_the_start_of_a_sentence():
    assert found("Airplane food is not its subject. Alien is.", items=(ALIEN, AIRPLANE)) == []
