"""Scores of readings, items and the form of replies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.dialogue.edit import Edit
from assistant.evaluation.gold import Checks, Utterance, load_gold
from assistant.evaluation.score import (
    Counts,
    degenerate,
    is_bound,
    names_item,
    opening,
    resolved,
    same_topic,
    satisfiable,
    slot_counts,
    total,
    violations,
    wish_faults,
)
from retrieval.wish import Wish
from tests.evaluation.fakes import AIRPLANE, ALIEN, FILMS, SOLARIS

COUNTS = st.builds(Counts, st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))


def utterance(edit: dict, **fields: object) -> Utterance:
    return Utterance.model_validate({"id": "u", "tag": "t", "message": "m", "edit": {"act": "find", **edit}, **fields})


def counts(read: dict, gold: Utterance) -> Counts:
    return total(slot_counts(Edit(act="find", **read).model_dump(mode="json"), gold).values())


@given(COUNTS)
def test_f1_is_the_harmonic_mean_of_precision_and_recall(one):
    if one.hits:
        assert one.f1 == pytest.approx(2 * one.precision * one.recall / (one.precision + one.recall))


@given(COUNTS, COUNTS, COUNTS)
def test_counts_add_up_in_any_order(one, two, three):
    assert total([one, two, three]) == total([three, one, two])


@pytest.mark.parametrize("one", load_gold().utterances, ids=lambda one: one.id)
def test_every_meaning_of_the_gold_scores_without_an_error(one):
    for meaning in one.meanings():
        found = total(slot_counts(meaning, one).values())
        assert (found.extra, found.missed) == (0, 0)


def test_extra_and_missed_values_are_counted_by_field():
    gold = utterance({"genres": ["horror", "comedy"], "years": [1980, 1989]})
    found = slot_counts(Edit(act="find", genres=("horror", "war"), years=(1980, 1990)).model_dump(mode="json"), gold)
    assert found["genres"] == Counts(1, 1, 1)
    assert found["years"] == Counts(0, 1, 1)


def test_an_accepted_alternative_is_right():
    gold = utterance({"moods": ["dark"]}, accept={"moods": [["dark"], ["dark", "suspenseful"], []]})
    assert counts({"moods": ("suspenseful", "dark")}, gold) == Counts(2, 0, 0)
    assert counts({}, gold) == Counts(0, 0, 0)
    assert counts({"moods": ("sad",)}, gold).extra == 1


def test_a_reading_replaces_several_fields_together():
    gold = utterance({"countries": ["france"]}, readings=[{"countries": [], "languages": ["french"]}])
    assert counts({"languages": ("french",)}, gold) == Counts(1, 0, 0)
    assert counts({}, gold) == Counts(0, 0, 1)


@pytest.mark.parametrize(
    ("read", "meant", "same"),
    [
        ("time travel", "time travel", True),
        ("movies about heists", "heist", True),
        ("heist", "time travel", False),
        ("the", "heist", False),
    ],
)
def test_topics_are_compared_by_their_words(read, meant, same):
    assert same_topic(read, meant) is same


def test_labels_become_ids_and_names():
    edit = Edit(act="find", like=("T1", "S2"), people=("P1",), genres=("horror",))
    found = resolved(edit, {"T1": "alien-1979", "S2": "solaris-1972"}, Wish(people=("Ridley Scott",)))
    assert found["like"] == ["alien-1979", "solaris-1972"]
    assert found["people"] == ["Ridley Scott"]
    assert found["genres"] == ["horror"]


def test_fields_that_an_act_gives_no_effect_do_not_count():
    edit = Edit(act="why", of=("S1",), genres=("horror",), like=("S1",))
    found = resolved(edit, {"S1": "alien-1979"}, Wish())
    assert (found["of"], found["genres"], found["like"]) == (["alien-1979"], [], [])
    assert resolved(Edit(act="chat", of=("S1",)), {}, Wish())["of"] == []


@pytest.mark.parametrize(
    ("wish", "broken"),
    [
        (Wish(), False),
        (Wish(genres=("horror", "science fiction"), year_from=1979, year_to=1979), False),
        (Wish(genres=("horror", "comedy")), True),
        (Wish(year_from=1980), True),
        (Wish(year_to=1978), True),
        (Wish(people=("ridley scott", "Nobody")), False),
        (Wish(people=("Nobody",)), True),
        (Wish(not_people=("Sigourney Weaver",)), True),
        (Wish(not_genres=("horror",)), True),
        (Wish(not_moods=("scary",)), True),
        (Wish(countries=("france", "united kingdom")), False),
        (Wish(languages=("french",)), True),
        (Wish(seen=("alien-1979",)), True),
        (Wish(moods=("funny",), about="trains"), False),
    ],
)
def test_hard_constraints_bind_an_item(wish, broken):
    assert bool(violations(ALIEN, wish)) is broken


def test_only_what_an_item_can_break_binds():
    assert not is_bound(Wish(moods=("funny",), about="trains", count=5))
    assert is_bound(Wish(year_to=1980))
    assert is_bound(Wish(not_people=("Ridley Scott",)))
    assert is_bound(Wish(seen=("alien-1979",)))


def test_a_wish_is_satisfiable_by_what_is_new():
    assert satisfiable(Wish(genres=("comedy",)), FILMS)
    assert not satisfiable(Wish(genres=("comedy",)), FILMS, {"airplane-1980"})


def test_a_wish_must_hold_the_gold_one_but_where_it_is_free():
    checks = Checks.model_validate({"wish": {"genres": ["horror"], "seen": ["alien-1979"], "count": 5}})
    right = Wish(genres=("horror",), seen=("alien-1979", "solaris-1972"), moods=("dark",), count=5)
    assert wish_faults(right, checks, checks.wish) == []
    wrong = Wish(genres=("drama",), countries=("france",), year_to=1980)
    assert len(wish_faults(wrong, checks, checks.wish)) == 5
    free = checks.model_copy(update={"free": ("genres", "countries", "years", "seen")})
    assert len(wish_faults(wrong, free, checks.wish)) == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Alien (1979) is a horror film set in space. Enjoy it!", None),
        ("Try Alien (1979) 👽", None),
        ("", "empty"),
        ("Yes.", "empty"),
        ("You may like Alien, a horror film about", "cut off"),
        ("I suggest [1] for a dark night in.", "unfilled slot"),
        ("a film of a film of a film of a film of a film of it.", "loop"),
        ("It is a very dark film. And good. It is a very dark film.", "repeated sentence"),
    ],
)
def test_degenerate_replies_are_found(text, fault):
    assert degenerate(text, "stop") == fault


def test_a_reply_ended_by_the_limit_is_cut_off():
    assert degenerate("Alien (1979) is a horror film.", "length") == "cut off"


def test_an_opening_is_four_words_whatever_their_case():
    assert opening("If you liked Solaris, try this.") == opening("IF YOU liked Solaris!")


def test_a_title_is_found_as_a_whole():
    assert names_item("Try AIRPLANE! (1980) tonight.", AIRPLANE)
    assert not names_item("Aliens are scary.", ALIEN)
    assert not names_item("Nothing fits.", SOLARIS)
