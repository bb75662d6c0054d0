"""What is refused is never wanted, and what is said of a tongue is not said of a country."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.dialogue.values import Choice, choices, sayings

KNOWN = {
    "genres": ("comedy", "drama", "horror", "romance", "science fiction", "thriller", "war", "western"),
    "moods": ("bleak", "funny", "sad", "scary", "slow", "violent", "weird"),
    "countries": ("france", "japan", "turkey", "united states"),
    "languages": ("english", "french", "japanese", "turkish"),
}
NOTHING: dict[str, tuple[str, ...]] = dict.fromkeys(KNOWN, ())


def read(text: str) -> dict[str, Choice]:
    return choices(text, sayings(text, KNOWN), NOTHING)


@pytest.mark.parametrize(
    ("text", "sure"),
    [
        ("a western", {"genres": ("western",)}),
        ("a horror, but nothing gory", {"genres": ("horror",), "not_moods": ("violent",)}),
        ("not too scary", {"not_moods": ("scary",)}),
        ("less gloomy", {"not_moods": ("bleak",)}),
        ("romcom please", {"genres": ("comedy", "romance")}),
        ("no war films, a drama", {"not_genres": ("war",), "genres": ("drama",)}),
        ("in french", {"languages": ("french",)}),
        ("a french film", {"countries": ("france",)}),
        ("turkish dialogue", {"languages": ("turkish",)}),
        ("where they speak japanese", {"languages": ("japanese",)}),
        ("nothing american", {}),
        ("my family is at war", {}),
        ("it doesn't have to be french", {}),
    ],
)
def test_what_is_said_outright_is_sure(text: str, sure: dict[str, tuple[str, ...]]) -> None:
    assert {name: tuple(sorted(one.sure)) for name, one in read(text).items() if one.sure} == sure


def test_a_phrase_of_two_meanings_stays_open_until_something_tells() -> None:
    assert read("a war")["genres"] == Choice(open=("war",))
    assert read("a war film")["genres"].sure == ("war",)
    assert read("no war")["not_genres"].sure == ("war",)


@given(
    cue=st.sampled_from(["no", "nothing", "without", "i hate", "sick of", "anything but", "please not", "avoid"]),
    refused=st.sampled_from(["horror", "western", "thriller"]),
    turn=st.sampled_from([", ", " but ", ". ", "; how about "]),
    wanted=st.sampled_from(["comedy", "romance", "science fiction"]),
    first=st.booleans(),
)
def test_a_value_in_reach_of_a_refusal_is_never_wanted_nor_one_outside_refused(
    cue: str, refused: str, turn: str, wanted: str, first: bool
) -> None:
    parts = (f"a {wanted}", f"{cue} {refused}")
    found = read(turn.join(parts if first else parts[::-1]))
    assert found["genres"] == Choice((wanted,))
    assert found["not_genres"] == Choice((refused,))
