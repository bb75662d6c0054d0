"""A wish is carried and corrected across turns in one place."""

from __future__ import annotations

import pytest
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


def test_older_still_goes_further_back_even_where_what_was_shown_is_newer_than_the_wish() -> None:
    wish = after(Wish(year_to=1960), era="older")
    assert wish.year_to == 1960
    assert after(Wish(year_from=1990), era="newer").year_from == 1990


def test_the_first_one_but_newer_is_measured_against_the_first_one() -> None:
    assert after(Wish(), like=["S2"], era="newer").year_from == 1976
    assert after(Wish(), era="newer").year_from == 1980


def test_years_said_outright_hold_beside_older() -> None:
    wish = after(Wish(), years=[1990, 1999], era="older")
    assert (wish.year_from, wish.year_to) == (1990, 1999)


def test_back_to_the_comedies_drops_the_later_genre_and_keeps_the_years() -> None:
    wish = after(Wish(genres=("comedy",)), genres=["western"], years=[1960, 1969])
    assert after(wish, genres=["comedy"]) == Wish(genres=("comedy",), year_from=1960, year_to=1969)


def test_with_subtitles_is_fine_gives_up_the_language_and_nothing_else() -> None:
    wish = Wish(genres=("comedy",), languages=("english",), countries=("france",))
    assert after(wish, clear=["languages"]) == Wish(genres=("comedy",), countries=("france",))


values = st.lists(st.sampled_from(["comedy", "horror", "drama", "war"]), unique=True, max_size=3).map(tuple)
ids = st.lists(st.sampled_from(["alien-1979", "jaws-1975", "solaris-1972", "x"]), unique=True, max_size=3).map(tuple)
bounds = st.none() | st.integers(1900, 2030)


@st.composite
def wishes(draw: st.DrawFn) -> Wish:
    """Wishes that contradict themselves nowhere."""
    genres, moods, like = draw(values), draw(values), draw(ids)
    first, last = draw(bounds), draw(bounds)
    if first and last and first > last:
        first, last = last, first
    return Wish(
        genres=genres,
        not_genres=tuple(v for v in draw(values) if v not in genres),
        moods=moods,
        not_moods=tuple(v for v in draw(values) if v not in moods),
        like=like,
        dislike=tuple(i for i in draw(ids) if i not in like),
        seen=draw(ids),
        year_from=first,
        year_to=last,
        about=draw(st.sampled_from(["", "dogs"])),
    )


edits = st.builds(
    Edit,
    act=st.just("find"),
    genres=values,
    not_genres=values,
    moods=values,
    not_moods=values,
    like=st.lists(st.sampled_from([*TITLES]), max_size=2),
    dislike=st.lists(st.sampled_from([*TITLES]), max_size=2),
    seen=st.lists(st.sampled_from([*TITLES]), max_size=2),
    era=st.sampled_from([None, "older", "newer"]),
    clear=st.lists(st.sampled_from(CLEARABLE), max_size=2),
)


def folded(wish: Wish, edit: Edit) -> Wish:
    return fold(wish, edit, TITLES, PEOPLE, SHOWN)


@given(wishes())
def test_an_empty_edit_changes_nothing(wish: Wish) -> None:
    assert folded(wish, Edit(act="find")) == wish


@given(wishes(), edits)
def test_nothing_is_ever_both_wanted_and_refused(wish: Wish, edit: Edit) -> None:
    result = folded(wish, edit)
    assert not set(result.genres) & set(result.not_genres)
    assert not set(result.moods) & set(result.not_moods)
    assert not set(result.like) & set(result.dislike)


@given(wishes(), edits)
def test_what_was_seen_stays_seen_and_what_was_disliked_stays_so_until_it_is_liked(wish: Wish, edit: Edit) -> None:
    result = folded(wish, edit)
    assert set(wish.seen) <= set(result.seen)
    assert set(wish.dislike) <= set(result.dislike) | {TITLES[label] for label in edit.like}


@given(wishes(), edits)
def test_what_is_given_up_is_gone_but_for_what_the_same_message_asks(wish: Wish, edit: Edit) -> None:
    result, afresh = folded(wish, edit), folded(Wish(), edit)
    if "all" in edit.clear:
        assert result.model_copy(update={"seen": (), "dislike": ()}) == afresh.model_copy(
            update={"seen": (), "dislike": ()}
        )
    for part in {"genres", "moods", "about"} & set(edit.clear):
        assert getattr(result, part) == getattr(afresh, part)


@given(wishes(), st.lists(st.just("older"), min_size=1, max_size=4))
def test_older_never_comes_nearer_however_often_it_is_said(wish: Wish, eras: list[str]) -> None:
    for era in eras:
        result = folded(wish, Edit.model_validate({"act": "find", "era": era}))
        assert result.year_to is not None
        assert result.year_to < min(item.year or 0 for item in SHOWN)
        assert wish.year_to is None or result.year_to <= wish.year_to
        wish = result


def test_a_long_conversation_never_outgrows_the_wish() -> None:
    wish = Wish()
    for number in range(40):
        people = {f"P{n}": f"Person {number}-{n}" for n in range(6)}
        titles = {f"T{n}": f"item-{number}-{n}" for n in range(6)}
        edit = Edit(act="find", not_people=tuple(people), seen=tuple(titles))
        wish = fold(wish, edit, titles, people, ())
    assert wish.not_people[-1] == "Person 39-5"
    assert len(wish.seen) == 200


@pytest.mark.parametrize(("era", "wish"), [("older", Wish(year_to=-9999)), ("newer", Wish(year_from=9999))])
def test_years_stay_within_what_a_wish_may_hold(era: str, wish: Wish) -> None:
    assert fold(wish, Edit(act="find", era=era), {}, {}, ()) == wish
