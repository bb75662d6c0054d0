"""Training text means what it says: labels exist, edits can be decoded, replies hold."""

from __future__ import annotations

import json
import random
import re

import jsonschema
import numpy as np
import pytest

from assistant.dialogue.edit import Edit, by_act, edit_schema
from assistant.dialogue.slots import Slots
from assistant.dialogue.verify import Sentences, Verifier
from assistant.starter.choices import Chooser
from assistant.starter.replies import Answerer
from assistant.starter.turns import Asker
from assistant.starter.world import World
from retrieval.catalogue import Facets
from retrieval.lexicon import lexicon

LABEL = re.compile(r"\[([TPS]\d+) [^\]]+\]")


@pytest.fixture(scope="session")
def vocabulary(world: World) -> Facets:
    def values(name: str) -> tuple[str, ...]:
        return tuple(sorted({value for film in world.films for value in getattr(film, name)}))

    return Facets(values("genres"), values("moods"), values("countries"), values("languages"), ("film",))


def test_an_edit_points_only_at_labels_that_the_message_or_the_shown_items_have(world: World) -> None:
    asker = Asker(world, random.Random(0))
    for _ in range(400):
        example = asker.example()
        labels = set(LABEL.findall(example.message)) | {f"S{n}" for n in range(1, len(example.shown) + 1)}
        edit = example.edit
        for pointer in (*edit.of, *edit.like, *edit.dislike, *edit.seen, *edit.people, *edit.not_people):
            assert pointer in labels, (example.message, edit)


def test_an_edit_is_written_as_constrained_decoding_writes_it(world: World, vocabulary: Facets) -> None:
    asker = Asker(world, random.Random(1))
    foreign = 0
    for _ in range(300):
        example = asker.example()
        titles = [label for label in LABEL.findall(example.message) if label[0] != "P"] + [f"S{n}" for n in range(1, 6)]
        people = [label for label in LABEL.findall(example.message) if label[0] == "P"]
        written = example.edit.written()
        assert " " not in re.sub(r'"[^"]*"', "", written)
        assert Edit.model_validate_json(written).written() == written
        schema = by_act(edit_schema(vocabulary, titles, people))
        places = {*example.edit.countries} - {*vocabulary.countries} | {*example.edit.languages} - {
            *vocabulary.languages
        }
        foreign += bool(places)
        if not places:
            jsonschema.validate(json.loads(written), schema)
    assert foreign < 60


def test_the_same_seed_writes_the_same_message(world: World) -> None:
    assert [Asker(world, random.Random(5)).example() for _ in range(3)] == [
        Asker(world, random.Random(5)).example() for _ in range(3)
    ]


def test_replies_of_the_training_text_pass_the_verifier(world: World, vocabulary: Facets) -> None:
    answerer = Answerer(world, random.Random(2))
    refused = []
    total = 0
    for _ in range(300):
        one = answerer.example()
        judge = Verifier(Slots(one.items, one.wish, one.liked, one.missing), vocabulary, one.message)
        cutter = Sentences()
        sentences = [*cutter.push(one.replies[0]), cutter.rest()]
        total += len(sentences)
        refused += [(one.task, s, why) for s in sentences if s and (why := judge.objection(s))]
    assert len(refused) <= 0.02 * total, refused[:10]


def test_no_two_items_of_a_reply_are_introduced_alike(world: World) -> None:
    answerer = Answerer(world, random.Random(4))
    for _ in range(300):
        one = answerer.example()
        if one.task in {"recommend", "relaxed"}:
            cutter = Sentences()
            sentences = [*cutter.push(one.replies[0]), cutter.rest()]
            naming = [re.sub(r"\[\d", "[N", s) for s in sentences if re.search(r"\[[2-9]\]", s)]
            assert len({" ".join(s.split()[:2]) for s in naming}) == len(naming) == len(one.items) - 1, one.replies[0]


def test_a_reply_does_not_say_a_mood_twice_of_its_first_item(world: World) -> None:
    answerer = Answerer(world, random.Random(5))
    for _ in range(300):
        one = answerer.example()
        if one.task == "recommend" and len(one.items) > 1 and one.wish.moods:
            first = one.replies[0].split("[2")[0]
            mood = one.wish.moods[0]
            assert not (re.search(rf"(something|that is|\[1\] is) {mood}\b", first) and "[1.moods]" in first), first


def test_what_a_reply_calls_missing_is_in_no_item_that_it_names(world: World) -> None:
    answerer = Answerer(world, random.Random(6))
    for _ in range(300):
        one = answerer.example()
        if one.task == "relaxed":
            assert all(one.missing not in {*item.genres, *item.moods} for item in one.items), one.missing


def test_a_choice_favours_what_suits_and_is_a_distribution(world: World) -> None:
    chooser = Chooser(world, random.Random(3))
    for _ in range(100):
        example = chooser.example()
        assert example.target.shape == (len(example.candidates),)
        assert np.isclose(example.target.sum(), 1.0)
        assert len({item.title for item in example.candidates}) == len(example.candidates)


FOLLOW_UPS: dict[str, dict[str, dict[str, object]]] = {
    "follow": {
        "older still": {"era": "older"},
        "even newer": {"era": "newer"},
        "with subtitles is fine": {"clear": ["languages"]},
        "doesn't have to be french": {"clear": ["countries", "languages"]},
        "start over": {"clear": ["all"]},
    },
    "position": {
        "not that one": {"dislike": ["S1"]},
        "not the second one": {"dislike": ["S2"]},
        "seen the first one already": {"seen": ["S1"]},
    },
    "ask": {
        "who directed the first one": {"act": "ask", "of": ["S1"]},
        "what's it about": {"act": "ask", "of": ["S1"]},
    },
    "why": {"why that one": {"act": "why", "of": ["S1"]}, "why the second one": {"act": "why", "of": ["S2"]}},
    "compare": {"which of the two is better": {"act": "compare", "of": ["S1", "S2"]}},
    "more": {"something else": {}, "another one": {}},
}


@pytest.mark.parametrize("kind", FOLLOW_UPS)
def test_follow_ups_that_people_write_are_met_with_one_meaning_each(world: World, kind: str) -> None:
    asker = Asker(world, random.Random(6))
    met: dict[str, set[Edit]] = {}
    for _ in range(6_000):
        example = asker.example(kind)
        met.setdefault(example.message.lower().rstrip(".!?"), set()).add(example.edit)
    for text, edit in FOLLOW_UPS[kind].items():
        assert met.get(text) == {Edit.model_validate({"act": "find", **edit})}, text


def test_a_shown_item_with_a_difference_is_liked_and_the_difference_asked_for(world: World) -> None:
    asker = Asker(world, random.Random(10))
    newer = [e for e in (asker.example("follow") for _ in range(6_000)) if e.message.endswith(" but newer")]
    assert len(newer) > 5
    assert all(e.edit.era == "newer" and e.edit.like and e.edit.act == "find" for e in newer)


def test_going_back_to_a_genre_asks_for_it_and_gives_nothing_up(world: World) -> None:
    asker, plural = Asker(world, random.Random(9)), lexicon()["genre_plural"]
    heard = 0
    for _ in range(6_000):
        example = asker.example("follow")
        if found := re.fullmatch(r"back to (?:the )?([\w ]+)", example.message):
            genres = [genre for genre, names in plural.items() if found.group(1).lower() in map(str.lower, names)]
            heard += bool(genres)
            assert not genres or example.edit == Edit(act="find", genres=tuple(genres)), example
    assert heard > 5


def test_nothing_is_both_wished_and_given_up_or_refused(world: World) -> None:
    asker = Asker(world, random.Random(7))
    for _ in range(5_000):
        message, edit = (example := asker.example()).message, example.edit
        for part in edit.clear:
            assert part == "all" or not getattr(edit, part), (message, edit)
        assert not {*edit.genres} & {*edit.not_genres}, (message, edit)
        assert not {*edit.moods} & {*edit.not_moods}, (message, edit)


def test_no_blank_or_mark_is_left_in_a_message(world: World) -> None:
    asker = Asker(world, random.Random(8))
    for _ in range(5_000):
        message = asker.example().message
        assert not re.search(r"⟦|\{(find|ref|than|any\d?|not_\w+|genre_\w+|adjective)\}", message), message
