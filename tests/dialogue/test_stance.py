"""A label goes where the words around it put it, and anywhere where they say nothing."""

from __future__ import annotations

import pytest

from assistant.dialogue.stance import TITLE_FIELDS, stances


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        ("something like [T1 Alien]", {"T1": ("like",)}),
        ("I've seen [T1 Alien] and [T2 Jaws] already", {"T1": ("seen",), "T2": ("seen",)}),
        ("hated [T1 Alien], loved [T2 Jaws]", {"T1": ("dislike",), "T2": ("like",)}),
        ("I didn't like [T1 Alien]", {"T1": ("dislike",)}),
        ("nothing like [T1 Alien]", {"T1": ("dislike",)}),
        ("[T1 Alien] was great", {"T1": ("like",)}),
        ("[T1 Alien], already seen it", {"T1": ("seen",)}),
        ("more like [T1 Alien] and less like [T2 Jaws]", {"T1": ("like",), "T2": ("dislike",)}),
        ("by [P1 David Lean] but not with [P2 Alec Guinness]", {"P1": ("people",), "P2": ("not_people",)}),
        ("no more [P1 Tom Hanks]", {"P1": ("not_people",)}),
        ("forget [P1 Tom Hanks]", {"P1": ()}),
    ],
)
def test_the_words_around_a_label_choose_its_field(message: str, fields: dict[str, tuple[str, ...]]) -> None:
    assert {label: stance.fields for label, stance in stances(message).items()} == fields


def test_a_title_that_is_only_named_can_go_anywhere() -> None:
    stance = stances("[T1 Alien]")["T1"]
    assert (stance.fields, stance.sure) == (TITLE_FIELDS, False)


def test_what_was_watched_and_loved_can_be_either() -> None:
    assert stances("watched and loved [T1 Alien]")["T1"].fields == ("like", "seen")


def test_a_verdict_on_counted_items_is_sure() -> None:
    stance = stances("seen the second one", ("S2",), counted=True)["S2"]
    assert (stance.fields, stance.sure) == (("seen",), True)


def test_a_refused_genre_is_no_verdict_on_what_was_shown() -> None:
    assert stances("no horror", ("S1", "S2"), faceted=True) == {}
