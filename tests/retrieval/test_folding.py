from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retrieval.folding import fold, numerals, tokens


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Amélie", "amelie"),
        ("L'Avventura", "l avventura"),
        ("Schindler’s List", "schindlers list"),
        ("Fast & Furious", "fast and furious"),
        ("S.W.A.T. and M*A*S*H", "swat and mash"),
        ("Spider-Man: No Way Home!", "spider man no way home"),
        ("Peter O'Toole", "peter otoole"),
        ("Ærø, Łódź", "aero lodz"),
        ("8½", "8 1 2"),
    ],
)
def test_spellings_meet(text: str, folded: str) -> None:
    assert fold(text) == folded


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The Godfather Part II", "the godfather 2"),
        ("godfather part two", "godfather 2"),
        ("Star Wars: Episode V", "star wars 5"),
        ("Rocky III", "rocky 3"),
        ("V for Vendetta", "v for vendetta"),
        ("Part Two", "part 2"),
        ("My Neighbour", "my neighbor"),
    ],
)
def test_numerals_become_digits(text: str, words: str) -> None:
    assert " ".join(token.form for token in numerals(tokens(text))) == words


@given(st.text(max_size=60))
def test_tokens_stand_where_they_say_in_order(text: str) -> None:
    for found in (tokens(text), numerals(tokens(text))):
        for token in found:
            assert 0 <= token.start < token.end <= len(text)
            assert token.form
            assert " " not in token.form
        assert [token.start for token in found] == sorted(token.start for token in found)


@given(st.text(max_size=60))
@example("𝕊")
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)
