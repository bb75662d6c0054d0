"""A topic is what stands in a governing construction, without what says something else."""

from __future__ import annotations

import pytest

from assistant.dialogue.topic import topic
from assistant.dialogue.values import sayings

KNOWN = {"genres": ("comedy", "horror", "war"), "moods": ("sad",), "countries": (), "languages": ()}


def read(message: str) -> tuple[str, ...]:
    return topic(message, sayings(message.lower(), KNOWN), 80, {"kayak", "vampires", "good"}.__contains__).sure


@pytest.mark.parametrize(
    ("message", "about"),
    [
        ("a comedy about time travel", "time travel"),
        ("something set in Venice, nothing sad", "venice"),
        ("a film where a bank gets robbed please", "a bank gets robbed"),
        ("a horror with a haunted house", "a haunted house"),
        ("one with pirates in it", "pirates"),
        ("stories about the sea from the 60s", "the sea"),
        ("a kayak movie", "kayak"),
        ("vampires, but funny", "vampires"),
    ],
)
def test_what_is_governed_is_the_topic(message: str, about: str) -> None:
    assert read(message) == (about,)


@pytest.mark.parametrize(
    "message",
    [
        "how about a comedy",
        "I don't care about the year",
        "a comedy with my mum",
        "nothing about war",
        "a good movie",
        "with subtitles",
        "the second one",
    ],
)
def test_what_only_looks_like_one_is_none(message: str) -> None:
    assert read(message) == ()
