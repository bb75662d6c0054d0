"""Words that date, ask for another time or give up are read alike wherever they stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.dialogue.cues import eras_said, gives_up, gives_up_all, outright_eras, parts_named, years_said


@pytest.mark.parametrize(
    ("words", "spans"),
    [
        ("from the 80s", ((1980, 1989),)),
        ("a 90's comedy", ((1990, 1999),)),
        ("prior to 1954", ((0, 1953),)),
        ("pre-1960", ((0, 1959),)),
        ("1970 or older", ((0, 1970),)),
        ("before the eighties", ((0, 1979),)),
        ("since 2007", ((2007, 0),)),
        ("starting from 2007", ((2007, 0),)),
        ("nothing before 1973", ((1973, 0),)),
        ("not older than 1950", ((1950, 0),)),
        ("no newer than 1950", ((0, 1950),)),
        ("nothing older than 1990", ((1990, 0),)),
        ("nothing after 1980", ((0, 1980),)),
        ("up to about 1975", ((0, 1975),)),
        ("'94 was a good year", ((1994, 1994),)),
        ("between the wars", ((1919, 1938),)),
        ("1943+", ((1943, 0),)),
        ("from 1990 onwards", ((1990, 0),)),
        ("post-2010", ((2011, 0),)),
        ("between 1960 and 1975", ((1960, 1975),)),
        ("70s or 80s", ((1970, 1989),)),
        ("something touching", ()),
    ],
)
def test_years_and_decades_are_read_with_what_binds_them(words: str, spans: tuple[tuple[int, int], ...]) -> None:
    assert years_said(words) == spans


@pytest.mark.parametrize(
    "words",
    [
        "it's been a while since i watched a film from the 2000s",
        "a pretty film from the 2000s",
        "from the 2000s, pizza's on its way",
        "that touches on family, from the 2000s",
        "i saw those before. the 2000s please",
    ],
)
def test_a_word_for_before_or_after_that_stands_elsewhere_bounds_no_year(words: str) -> None:
    assert years_said(words) == ((2000, 2009),)


@given(st.integers(1900, 2029), st.sampled_from(["after", "since", "before", "until"]), st.text("abc ", max_size=12))
def test_a_bound_holds_whatever_stands_around_it(year: int, word: str, around: str) -> None:
    spans = {"before": (0, year - 1), "until": (0, year), "after": (year + 1, 0), "since": (year, 0)}
    assert years_said(f"{around} {word} {year} {around}") == (spans[word],)


@pytest.mark.parametrize(
    ("words", "eras"),
    [
        ("older still", ("older",)),
        ("even older please", ("older",)),
        ("go further back", ("older",)),
        ("too old", ("newer",)),
        ("not so old-school", ("newer",)),
        ("those are ancient", ("newer",)),
        ("a tad more modern", ("newer",)),
        ("less recent", ("older",)),
        ("closer to today", ("newer",)),
        ("my older brother", ()),
        ("an old film", ()),
    ],
)
def test_older_and_newer_are_read_from_the_words_that_say_so(words: str, eras: tuple[str, ...]) -> None:
    assert outright_eras(words) == eras
    assert set(eras) <= set(eras_said(words))


def test_giving_up_needs_its_word_and_the_part_its_name() -> None:
    assert gives_up("the language doesn't matter")
    assert parts_named("the language doesn't matter") == {"languages"}
    assert gives_up_all("forget all that")
    assert not gives_up("any comedies with dogs")
    assert not gives_up_all("something else")
