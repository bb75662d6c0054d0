"""The gold set is whole, refers to the bundled catalogue only, and says what it means without ambiguity."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from assistant.evaluation.gold import Checks, Conversation, Gold, Utterance, faults, load_gold, spread
from assistant.evaluation.sets import SETS
from retrieval.bundled import bundled_items


@pytest.fixture(scope="module", params=SETS)
def gold(request) -> Gold:
    return load_gold(request.param)


def test_it_is_as_large_as_promised():
    gold = load_gold()
    assert len(gold.utterances) >= 200
    assert len(gold.conversations) >= 40
    assert sum(one.tag == "injection" for one in gold.utterances) >= 15


def test_every_id_name_and_facet_is_in_the_bundled_catalogue(gold):
    assert faults(gold, bundled_items()) == []


def test_ids_and_messages_are_unique(gold):
    ids = [one.id for one in (*gold.utterances, *gold.conversations)]
    assert len(set(ids)) == len(ids)
    messages = [(one.message.casefold(), one.shown) for one in gold.utterances]
    assert len(set(messages)) == len(messages)


def test_no_message_stands_in_both_sets():
    gold, development = (
        {" ".join(re.findall(r"\w+", message.lower())) for message in _messages(load_gold(name))} for name in SETS
    )
    shared = len(gold & development)
    assert shared == 0


def _messages(gold):
    yield from (one.message for one in gold.utterances)
    yield from (turn.message for conversation in gold.conversations for turn in conversation.turns)


def test_what_is_off_topic_has_no_other_fields(gold):
    for one in gold.utterances:
        if one.edit.act in {"off_topic", "chat"}:
            assert one.edit.model_dump(exclude_defaults=True) == {"act": one.edit.act}, one.id


def test_the_gold_value_is_among_the_accepted_ones(gold):
    for one in gold.utterances:
        main = one.edit.model_dump(mode="json")
        for name, values in one.accept.items():
            assert main[name] in values or any(name in reading for reading in one.readings), (one.id, name)


def test_a_question_follows_something_shown_or_named(gold):
    for conversation in gold.conversations:
        first = conversation.turns[0].checks
        assert not any(value.startswith("@") for value in (*first.excludes, *first.speaks_of))


def test_a_field_of_another_name_is_refused(gold):
    row = gold.utterances[0].model_dump(mode="json")
    with pytest.raises(ValidationError):
        Utterance.model_validate({**row, "genre": ["horror"]})
    with pytest.raises(ValidationError):
        Checks.model_validate({"free": ["era"]})


def test_an_unknown_film_is_found():
    turn = {
        "message": "hm",
        "checks": {"wish": {"like": ["no-such-film"], "people": ["Nobody Atall"]}, "excludes": ["@2"]},
    }
    conversation = Conversation.model_validate({"id": "c", "tag": "t", "turns": [turn] * 3})
    found = faults(Gold(utterances=(), conversations=(conversation,)), [])
    assert len(found) == 6
    assert "c: like 'no-such-film' is not in the catalogue" in found


def test_constraints_are_what_all_readings_agree_on():
    row = {
        "id": "u",
        "tag": "t",
        "message": "a french comedy from the 90s",
        "edit": {"act": "find", "genres": ["comedy"], "countries": ["france"], "years": [1990, 1999]},
        "readings": [{"countries": [], "languages": ["french"]}],
    }
    wish = Utterance.model_validate(row).constraints
    assert (wish.genres, wish.countries, wish.year_from, wish.year_to) == (("comedy",), (), 1990, 1999)


def test_free_years_bind_nothing():
    checks = Checks.model_validate({"wish": {"year_from": 1990, "genres": ["horror"]}, "free": ["years"]})
    assert (checks.constraints.year_from, checks.constraints.genres) == (None, ("horror",))


def test_spread_takes_from_everywhere():
    assert spread(range(10), 3) == (0, 3, 6)
    assert spread(range(3), 5) == (0, 1, 2)
    assert spread(range(3), None) == (0, 1, 2)
