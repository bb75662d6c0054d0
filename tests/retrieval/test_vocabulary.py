"""A wish that a client wrote is put into the catalogue's own words, and no others."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.vocabulary import in_own_words
from retrieval.wish import Wish
from tests.retrieval.test_search import WISHES


def nobody(name: str) -> str:
    return name


def test_a_known_way_to_say_a_value_becomes_it() -> None:
    values = {"science fiction", "comedy", "romance", "united states", "french", "funny"}
    wish = Wish(genres=("sci-fi",), not_genres=("scifi",), countries=("the usa",), languages=("français",))
    own = in_own_words(wish, lambda _, value: value in values, nobody)
    assert (own.genres, own.not_genres, own.countries) == (
        ("science fiction",),
        ("science fiction",),
        ("united states",),
    )


def test_what_means_several_or_what_the_catalogue_lacks_stays() -> None:
    wish = Wish(genres=("romcom", "western"), countries=("usa",))
    assert in_own_words(wish, lambda _, value: value in {"romance", "comedy"}, nobody) == wish


def test_a_catalogue_keeps_its_own_words() -> None:
    wish = Wish(genres=("sci-fi",), people=("Cher",))
    assert in_own_words(wish, lambda _, value: True, lambda _: "somebody else") == wish


def test_part_of_a_name_becomes_the_name_once() -> None:
    names = {"hitchcock": "Alfred Hitchcock"}
    wish = Wish(people=("hitchcock", "Alfred Hitchcock"), not_people=("nobody",))
    own = in_own_words(wish, lambda _, value: value == "alfred hitchcock", lambda part: names.get(part, part))
    assert (own.people, own.not_people) == (("Alfred Hitchcock",), ("nobody",))


@settings(deadline=None)
@given(wish=WISHES, held=st.booleans())
def test_twice_is_as_once(wish: Wish, held: bool) -> None:
    once = in_own_words(wish, lambda _, __: held, nobody)
    assert in_own_words(once, lambda _, __: held, nobody) == once
