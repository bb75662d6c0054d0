"""What no known words tell of a film or person is read by example."""

from __future__ import annotations

import pytest

from assistant.dialogue.stance import stances
from assistant.dialogue.verdict import Verdicts
from retrieval.encoder import TextEncoder


@pytest.fixture(scope="module")
def verdicts() -> Verdicts:
    return Verdicts(TextEncoder())


@pytest.mark.parametrize(
    ("message", "label", "fields"),
    [
        ("[T1 Alien] was unbearable for me", "T1", ("dislike",)),
        ("[T1 Alien] really blew me away", "T1", ("like",)),
        ("I have an allergy to [P1 Tom Hanks]", "P1", ("not_people",)),
        ("swap him for [P1 Tom Hanks]", "P1", ("people",)),
        ("anything with [P1 Tom Hanks]", "P1", ("people",)),
    ],
)
def test_a_verdict_in_words_of_its_own_is_read(
    verdicts: Verdicts, message: str, label: str, fields: tuple[str, ...]
) -> None:
    assert verdicts.settled(message, stances(message))[label].fields == fields


def test_what_words_tell_is_left_as_it_is(verdicts: Verdicts) -> None:
    to = stances("hated [T1 Alien], loved [T2 Jaws]")
    assert verdicts.settled("hated [T1 Alien], loved [T2 Jaws]", to) == to
