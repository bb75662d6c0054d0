"""A refusal reaches over its clause, and no further."""

from __future__ import annotations

import pytest

from assistant.dialogue.scope import refusals


def refused(text: str) -> set[str]:
    words = ("war", "horror", "comedy", "musicals", "[p1 tom hanks]")
    return {
        word
        for word in words
        if word in text
        for scope in refusals(text)
        if scope.holds(text.index(word), text.index(word) + len(word))
    }


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("no war, horror or musicals", {"war", "horror", "musicals"}),
        ("no horror, a comedy please", {"horror"}),
        ("a comedy, not a horror", {"horror"}),
        ("i hate musicals but a comedy is fine", {"musicals"}),
        ("a comedy without [p1 tom hanks]", {"[p1 tom hanks]"}),
        ("fed up with horror. comedy?", {"horror"}),
        ("anything but horror", {"horror"}),
        ("[p1 tom hanks] annoys me, a comedy then", {"[p1 tom hanks]"}),
        ("i don't want horror, how about a comedy", {"horror"}),
        ("not only horror", set()),
        ("why not a comedy", set()),
        ("i don't mind horror", set()),
        ("i haven't seen a war one", set()),
        ("nothing but comedy", set()),
        ("no older than 1990, horror", set()),
    ],
)
def test_what_is_refused_is_what_a_reader_takes_for_refused(text: str, meant: set[str]) -> None:
    assert refused(text) == meant


def test_a_title_that_refuses_refuses_nothing() -> None:
    assert refusals("like [t1 no country for old men], a comedy") == ()
