"""What a message can point at, count and be about is read off its words, and what it does mean is never ruled out."""

from __future__ import annotations

import random

import pytest

from assistant.dialogue.pointing import MAX_TOPICS, counts, shown_labels, topics
from assistant.starter.turns import Asker
from assistant.starter.world import World
from retrieval.bundled import bundled_items
from retrieval.wish import MAX_COUNT


@pytest.mark.parametrize(
    ("message", "labels"),
    [
        ("who directed the first one?", ("S1",)),
        ("not number two", ("S2",)),
        ("the last one is great", ("S3",)),
        ("why that one?", ("S1", "S2", "S3")),
        ("none of those", ("S1", "S2", "S3")),
        ("more like [S2 Alien]", ("S2",)),
        ("1 or 3?", ("S1", "S3")),
        ("a funny western", ()),
        ("the ninth", ()),
        ("tell me more", ("S1",)),
        ("Tell us a bit more, please", ("S1",)),
        ("more details please", ("S1",)),
        ("convince me", ("S1",)),
        ("whats the plot", ("S1", "S2", "S3")),
        ("tell me more about it", ("S1", "S2", "S3")),
        ("sounds good, why?", ("S1", "S2", "S3")),
        ("saw that one last year", ("S1", "S2", "S3")),
        ("which should I watch first?", ("S1", "S2", "S3")),
    ],
)
def test_shown_items_are_pointed_at_by_place_by_name_or_by_a_word_for_any(
    message: str, labels: tuple[str, ...]
) -> None:
    assert shown_labels(message, 3) == labels


@pytest.mark.parametrize(
    "message",
    [
        "tell me more about [T1 Alien]",
        "tell me more comedies",
        "show me more",
        "something with more detail in the sets",
        "hello there",
        "thanks, bye!",
        "[T1 Alien] last year",
        "go on a trip to Paris with me",
    ],
)
def test_a_message_about_something_else_points_at_nothing_shown(message: str) -> None:
    assert shown_labels(message, 3) == ()


@pytest.mark.parametrize(
    ("message", "numbers"),
    [("give me five", (5,)), ("a couple of westerns", (2,)), ("top 3", (3,)), ("from 1999", ()), ("a western", ())],
)
def test_only_numbers_that_are_said_can_be_asked_for(message: str, numbers: tuple[int, ...]) -> None:
    assert counts(message) == numbers
    assert all(1 <= number <= MAX_COUNT for number in numbers)


def test_a_topic_is_what_follows_about_or_a_stretch_of_telling_words() -> None:
    assert topics("a film about a heist gone wrong, please", 80) == ("a heist", "a heist gone", "a heist gone wrong")
    assert "submarine" in topics("a submarine movie", 80)
    assert topics("[T1 Alien]", 80) == ()
    assert all(len(topic) <= 10 for topic in topics("something about extraordinarily long words", 10))


def test_the_cues_hardly_ever_rule_out_what_is_meant() -> None:
    asker = Asker(World(list(bundled_items())), random.Random(8))
    kept = total = 0
    for _ in range(800):
        example = asker.example()
        edit, found = example.edit, topics(example.message, 80)
        assert len(found) <= MAX_TOPICS
        pointed = {
            label for field in (edit.of, edit.like, edit.dislike, edit.seen) for label in field if label[0] == "S"
        }
        checks = [
            (pointed, pointed <= set(shown_labels(example.message, len(example.shown)))),
            (edit.count, edit.count in counts(example.message)),
            (edit.about, edit.about.lower() in map(str.lower, found)),
        ]
        total += sum(bool(meant) for meant, _ in checks)
        kept += sum(bool(meant) and ok for meant, ok in checks)
    assert kept >= 0.98 * total
