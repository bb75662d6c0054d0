"""A stop ends the reply at the same place however the reply is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.dialogue.stops import Stops

LETTERS = st.text("abc", max_size=12)
STOPS = st.lists(st.text("abc", min_size=1, max_size=4), max_size=3)


def shown(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    cutter = Stops(stops)
    text = "".join([cutter.push(piece) for piece in pieces] + [cutter.rest()])
    return text, cutter.reached


@given(LETTERS, STOPS, st.integers(1, 12))
def test_pieces_make_no_difference(text: str, stops: list[str], size: int) -> None:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert shown(pieces, stops) == shown([text], stops)


@given(LETTERS, STOPS)
def test_what_is_shown_begins_the_text_and_holds_no_stop(text: str, stops: list[str]) -> None:
    cut, reached = shown(list(text), stops)
    assert text.startswith(cut)
    assert not any(stop in cut for stop in stops)
    assert reached == any(stop in text for stop in stops)
    assert reached or cut == text


@pytest.mark.parametrize(
    ("stops", "expected"), [(["bc", "abcd"], "a"), (["bc", "abc"], ""), (["cd"], "ab"), (["xy"], "abcd")]
)
def test_the_stop_that_is_complete_first_counts_and_of_two_the_longer(stops: list[str], expected: str) -> None:
    assert shown(list("abcd"), stops)[0] == expected


def test_only_what_may_begin_a_stop_is_held_back() -> None:
    cutter = Stops(["END"])
    assert [cutter.push(piece) for piece in ("One E", "gg. E", "N", "Ded")] == ["One ", "Egg. ", "", ""]
    assert not cutter.push("more")
    assert not cutter.rest()
