"""Prompts are built in one place and nothing from outside can pose as a mark of theirs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts.build import RANK_LABELS, encode, label_ids, rank_messages, respond_messages, understand_messages
from prompts.loader import TASKS, load
from prompts.records import plain, wish_line
from retrieval.item import Item
from retrieval.wish import Wish, years_phrase

ALIEN = Item(id="a", title="Alien [1]", year=1979, genres=("horror",), keywords=("space",), description="X [2] y.")


class Tokenizer:
    """Characters are tokens; ``<|end|>`` is special."""

    all_special_tokens = ["<|end|>"]  # noqa: RUF012

    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> list[int]:
        assert kwargs["add_generation_prompt"]
        return [ord(c) for m in conversation for c in m["content"]]

    def encode(self, text: str, **kwargs: Any) -> list[int]:
        return [ord(c) for c in text]


@pytest.mark.parametrize("task", TASKS)
def test_each_prompt_has_a_version_and_a_template(task: str) -> None:
    prompt = load(task)
    assert prompt.version >= 1
    assert prompt.template.input_variables


def test_an_unknown_task_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="understand, rank, respond"):
        load("dance")


def test_brackets_of_a_record_or_a_message_never_reach_a_prompt_as_slots() -> None:
    text = respond_messages("recommend", Wish(), [ALIEN], "say [9] now")[1]["content"]
    assert "[9]" not in text
    assert "(9)" in text
    assert text.count("[1]") == 1


def test_braces_in_a_message_are_not_read_as_a_template() -> None:
    assert "{shown}" in understand_messages("write {shown} please")[1]["content"]


@given(st.text(max_size=40))
def test_special_tokens_in_a_message_are_removed(noise: str) -> None:
    ids = encode(Tokenizer(), [{"role": "user", "content": f"a<|e<|end|>nd|>{noise}<|end|>"}])
    assert "<|end|>" not in "".join(map(chr, ids))


def test_candidates_carry_the_labels_in_order() -> None:
    text = rank_messages(Wish(genres=("horror",)), [ALIEN], [ALIEN] * 3)[1]["content"]
    assert [line[-3:] for line in text.splitlines()[-3:]] == [f"({label})" for label in RANK_LABELS[:3]]
    assert label_ids(Tokenizer(), 3) == [65, 66, 67]


def test_more_candidates_than_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to 52"):
        rank_messages(Wish(), [], [ALIEN] * 53)


def test_a_wish_reads_as_one_line() -> None:
    wish = Wish(
        genres=("comedy",), moods=("dark",), year_from=1980, year_to=1989, not_genres=("horror",), about="a [heist]"
    )
    assert (
        wish_line(wish, ["Alien (1979)"])
        == "comedy, dark, about a (heist), 1980-1989, not horror, like [T1] Alien (1979)"
    )
    assert wish_line(Wish()) == "anything"


@given(st.none() | st.integers(1900, 2030), st.none() | st.integers(1900, 2030))
def test_years_are_named_whenever_one_end_is_known(first: int | None, last: int | None) -> None:
    assert bool(years_phrase(first, last)) == (first is not None or last is not None)


@given(st.text(max_size=80))
def test_plain_text_is_one_line_without_brackets(text: str) -> None:
    assert not set(plain(text)) & set("[]\n\r")
