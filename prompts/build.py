"""Builds the messages of each task and their token ids.

The device trains on, and the server ranks with, what `rank_messages` and `encode` return: the one
place where a rank prompt comes from.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any, Protocol

from prompts.loader import load
from prompts.records import Record, WishLike, full_record, plain, short_record, wish_line

RANK_LABELS = tuple(string.ascii_uppercase + string.ascii_lowercase)
MAX_HISTORY = 8

Message = dict[str, str]
_ROLES = {"human": "user", "system": "system", "ai": "assistant"}


class ChatTokenizer(Protocol):
    """The part of a transformers tokenizer that prompts need."""

    all_special_tokens: list[str]

    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> Any: ...
    def encode(self, text: str, **kwargs: Any) -> list[int]: ...


def messages(name: str, /, **values: str) -> list[Message]:
    """The chat messages of the prompt ``name`` with its placeholders filled."""
    filled = load(name).template.format_messages(**values)
    return [{"role": _ROLES[message.type], "content": str(message.content)} for message in filled]


def understand_messages(message: str, shown: Sequence[Record] = ()) -> list[Message]:
    """``message`` already carries its labels (``[T1 solaris]``); ``shown`` are the items of the last reply."""
    lines = [f"[S{n}] {plain(item.label)}, {', '.join(item.genres[:2])}" for n, item in enumerate(shown, 1)]
    return messages("understand", message=message, shown="; ".join(lines) or "nothing")


def rank_messages(wish: WishLike, history: Sequence[Record], candidates: Sequence[Record]) -> list[Message]:
    """A listwise choice: candidates carry the labels of `RANK_LABELS` in order, each behind its record.

    Behind, since a causal model has read the whole record there: what it makes of a candidate then lies where the
    label is.

    ``history`` are liked items, latest last, of which the last `MAX_HISTORY` are shown. ValueError
    when there are no candidates or more than there are labels.
    """
    if not 0 < len(candidates) <= len(RANK_LABELS):
        raise ValueError(f"rank 1 to {len(RANK_LABELS)} candidates at once, not {len(candidates)}")
    liked = "\n".join(f"- {short_record(item)}" for item in history[-MAX_HISTORY:]) or "- nothing yet"
    lines = (f"{short_record(item)} ({label})" for label, item in zip(RANK_LABELS, candidates, strict=False))
    return messages("rank", wish=wish_line(wish), liked=liked, candidates="\n".join(lines))


def respond_messages(
    task: str,
    wish: WishLike,
    items: Sequence[Record],
    message: str,
    *,
    liked: Sequence[str] = (),
    missing: str = "",
    slots: Sequence[str] = (),
) -> list[Message]:
    """``task`` is one of the tasks named in the prompt; ``missing`` what had to be loosened, if anything.

    ``slots`` are those that repeat a part of the wish or a liked title.
    """
    lines = "\n".join(f"[{n}] {full_record(item)}" for n, item in enumerate(items, 1))
    return messages(
        "respond",
        task=task,
        wish=wish_line(wish, liked),
        missing=plain(missing) or "nothing",
        slots=" ".join(slots) or "none",
        items=lines or "none",
        message=plain(message),
    )


def encode(tokenizer: ChatTokenizer, chat: Sequence[Message]) -> list[int]:
    """Token ids of ``chat`` with the generation prompt at its end.

    Special tokens written out in a message or a record are removed first, so that text from outside can
    never close its turn. Models that can think aloud are told not to.
    """
    clean = [{**message, "content": _without_special(tokenizer, message["content"])} for message in chat]
    ids = tokenizer.apply_chat_template(
        clean, add_generation_prompt=True, tokenize=True, return_dict=False, enable_thinking=False
    )
    return list(ids)


def label_ids(tokenizer: ChatTokenizer, count: int) -> list[int]:
    """The token id of each of the first ``count`` labels; ValueError where one is not a single token."""
    ids = []
    for label in RANK_LABELS[:count]:
        tokens = tokenizer.encode(label, add_special_tokens=False)
        if len(tokens) != 1:
            raise ValueError(f"the tokenizer splits the label {label!r} into {len(tokens)} tokens; rank needs one")
        ids.append(tokens[0])
    return ids


def _without_special(tokenizer: ChatTokenizer, text: str) -> str:
    before = None
    while before != text:
        before = text
        for token in tokenizer.all_special_tokens:
            text = text.replace(token, " ")
    return text
