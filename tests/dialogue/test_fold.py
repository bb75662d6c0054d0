"""A wish is carried and corrected across turns in one place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from assistant.dialogue.edit import ACTS, CLEARABLE, Edit
from assistant.dialogue.fold import fold
from retrieval.item import Item
from retrieval.wish import Wish

SHOWN = [Item(id="alien-1979", title="Alien", year=1979), Item(id="jaws-1975", title="Jaws", year=1975)]
TITLES = {"T1": "solaris-1972", "S1": "alien-1979", "S2": "jaws-1975"}
PEOPLE = {"P1": "Andrei Tarkovsky", "P2": "Ridley Scott"}


def after(wish: Wish, **edit: object) -> Wish:
    return fold(wish, Edit.model_validate({"act": "find", **edit}), TITLES, PEOPLE, SHOWN)


def test_a_new_genre_replaces_the_old_and_moods_add_up() -> None:
    wish = after(Wish(genres=("western",), moods=("dark",)), genres=["comedy"], moods=["gentle"])
    assert wish.genres == ("comedy",)
    assert wish.moods == ("dark", "gentle")


def test_older_means_before_the_oldest_shown_and_older_still_goes_on_from_there() -> None:
    wish = after(Wish(), era="older")
    assert wish.year_to == 1974
    older = fold(wish, Edit(act="find", era="older"), {}, {}, [Item(id="x", title="X", year=1950)])
    assert older.year_to == 1949


def test_newer_gives_up_an_upper_bound_that_leaves_no_room() -> None:
    wish = after(Wish(year_from=1970, year_to=1979), era="newer")
    assert (wish.year_from, wish.year_to) == (1980, None)


def test_pointers_become_ids_and_names_and_a_dangling_label_is_passed_over() -> None:
    wish = after(Wish(), like=["T1", "T9"], dislike=["S2"], people=["P2"], not_people=["P1", "P7"])
    assert wish.like == ("solaris-1972",)
    assert wish.dislike == ("jaws-1975",)
    assert wish.people == ("Ridley Scott",)
    assert wish.not_people == ("Andrei Tarkovsky",)


def test_a_refused_value_is_no_longer_wanted_and_the_other_way_round() -> None:
    wish = after(Wish(genres=("horror",), not_moods=("slow",)), not_genres=["horror"], moods=["slow"])
    assert wish.genres == ()
    assert wish.not_genres == ("horror",)
    assert wish.not_moods == ()


def test_clearing_all_keeps_what_was_seen_and_refused() -> None:
    wish = after(
        Wish(genres=("horror",), seen=("jaws-1975",), dislike=("x",), year_to=1980), clear=["all"], genres=["comedy"]
    )
    assert wish == Wish(genres=("comedy",), seen=("jaws-1975",), dislike=("x",))


def test_years_written_backwards_are_turned_round_and_zero_is_open() -> None:
    assert (after(Wish(), years=[1990, 1980]).year_from, after(Wish(), years=[1990, 1980]).year_to) == (1980, 1990)
    assert (after(Wish(), years=[0, 1980]).year_from, after(Wish(), years=[0, 1980]).year_to) == (None, 1980)


@given(st.sampled_from([act for act in ACTS if act != "find"]))
def test_only_find_changes_the_wish(act: str) -> None:
    wish = Wish(genres=("drama",))
    assert fold(wish, Edit.model_validate({"act": act, "of": ["S1"]}), TITLES, PEOPLE, SHOWN) == wish


facets = st.lists(st.sampled_from(["comedy", "horror", "drama"]), max_size=4)


@given(
    genres=facets, not_genres=facets, moods=facets, not_moods=facets,
    like=st.lists(st.sampled_from([*TITLES, "T9"]), max_size=4), dislike=st.lists(st.sampled_from([*TITLES])),
    clear=st.lists(st.sampled_from(CLEARABLE), max_size=3), era=st.sampled_from([None, "older", "newer"]),
    years=st.none() | st.tuples(st.integers(0, 2100), st.integers(0, 2100)),
)  # fmt: skip
def test_any_edit_leaves_a_valid_wish_that_contradicts_itself_nowhere(**edit: object) -> None:
    wish = fold(Wish(), Edit.model_validate({"act": "find", **edit}), TITLES, PEOPLE, SHOWN)
    assert Wish.model_validate(wish.model_dump()) == wish
    assert not set(wish.genres) & set(wish.not_genres)
    assert not set(wish.moods) & set(wish.not_moods)
    assert not set(wish.like) & set(wish.dislike)
    assert wish.year_from is None or wish.year_to is None or wish.year_from <= wish.year_to
