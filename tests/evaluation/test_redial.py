"""ReDial dialogues become turns by the published protocol."""

from __future__ import annotations

import gzip
import json

import pytest

from assistant.evaluation.redial import ids_by_label, redial_turns
from tests.evaluation.fakes import ALIEN


def dialogue(*messages, mentions=None):
    rows = [{"senderWorkerId": who, "text": text} for who, text in messages]
    return {
        "conversationId": "7",
        "initiatorWorkerId": 1,
        "respondentWorkerId": 2,
        "messages": rows,
        "movieMentions": mentions or [],
    }


def written(path, *rows):
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def test_messages_merge_mentions_become_titles_and_repeats_are_no_targets(tmp_path):
    talk = dialogue(
        (2, "Hello"), (1, "I like @11"), (1, "a lot"), (2, "See @12 then"), (2, "or @11"), (1, "ok"), (2, "bye"),
        mentions={"11": "Alien  (1979)", "12": "Solaris (1972)"},
    )  # fmt: skip
    first, second = redial_turns(written(tmp_path / "d.jsonl.gz", talk))
    assert [message.content for message in first.messages] == ["Hello", "I like Alien (1979) a lot"]
    assert [message.role for message in second.messages] == ["assistant", "user", "assistant", "user"]
    assert (first.targets, second.targets) == (("Solaris (1972)",), ())
    assert (first.id, second.id) == ("7-2", "7-4")


def test_a_line_that_is_no_dialogue_is_named(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps(dialogue((1, "hi"), (2, "hi"))) + '\n{"messages": []}\n')
    with pytest.raises(ValueError, match="line 2 is no ReDial dialogue"):
        redial_turns(path)


def test_titles_are_found_by_title_and_year():
    assert ids_by_label([ALIEN]) == {"alien 1979": "alien-1979"}


@pytest.mark.data
def test_the_official_test_split_is_read(shared_data):
    turns = redial_turns(shared_data / "redial" / "test_data.jsonl.gz")
    assert len({turn.id.partition("-")[0] for turn in turns}) > 1300
    assert all(turn.messages[-1].role == "user" for turn in turns)
    assert not any("@" in target for turn in turns for target in turn.targets)
